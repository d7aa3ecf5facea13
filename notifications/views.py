"""The page behind "Unsubscribe". A GET changes nothing: scanners open every link of a mail."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from cronsched.core import clock
from notifications.unsubscribe import read_token, unsubscribe


# The token is the proof; mail programs post here without any page of ours (RFC 8058).
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe_page(request: HttpRequest, token: str) -> HttpResponse:
    subscription = read_token(token)
    if subscription is None:
        return render(request, "unsubscribe.html", status=404)
    is_done = request.method == "POST"
    if is_done:
        unsubscribe(subscription, now=clock.now())
    return render(request, "unsubscribe.html", {"subscription": subscription, "is_done": is_done})
