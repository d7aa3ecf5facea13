"""Telling other apps of a change, inside its transaction, without putting the change at risk."""

from __future__ import annotations

import logging
from typing import Any

from django.db import OperationalError, transaction
from django.dispatch import Signal

from cronsched.core.db import is_conflict

logger = logging.getLogger(__name__)


def tell(signal: Signal, *, what: str, sender: type, **values: Any) -> None:
    """Send `signal` in a savepoint. A handler that fails costs its own rows, never the change itself.

    `what` names the signal and its object in the log ("taxon_changed taxon=… action=…").
    """
    try:
        with transaction.atomic():
            signal.send(sender=sender, **values)
    except Exception as error:
        if isinstance(error, OperationalError) and is_conflict(error):
            # The database has undone the whole transaction: whoever began it does all of it again.
            raise
        logger.exception("a handler failed: %s", what)
