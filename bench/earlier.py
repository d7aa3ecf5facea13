"""The list of jobs on the earlier stack: FastAPI, SQLAlchemy's ORM, a dictionary for each job.

For bench/listing.py: `uvicorn bench.earlier:app` reads the tables of the product's own database
(BENCH_DATABASE, an SQLAlchemy URL). Written as one would write it: category and team are joined, the last
run is read from the job's row, the next one is not computed but read. So it is a lower bound.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI
from sqlalchemy import MetaData, Table, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Session, joinedload, relationship

engine = create_engine(os.environ["BENCH_DATABASE"])
tables = MetaData()
tables.reflect(engine, only=["jobs_job", "taxonomy_jobcategory", "taxonomy_picteam", "accounts_user"])
app = FastAPI()


class Base(DeclarativeBase):
    pass


def _table(name: str) -> Table:
    return tables.tables[name]


class Category(Base):
    __table__ = _table("taxonomy_jobcategory")


class Team(Base):
    __table__ = _table("taxonomy_picteam")


class Job(Base):
    __table__ = _table("jobs_job")
    __mapper_args__ = {"exclude_properties": ["metadata"]}
    details = __table__.c.metadata
    category = relationship(Category)
    team = relationship(Team)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "cron_expression": self.cron_expression,
            "timezone": self.timezone or None,
            "catch_up": self.catch_up,
            "target_url": self.target_url or None,
            "github_owner": self.github_owner or None,
            "github_repo": self.github_repo or None,
            "github_workflow_name": self.github_workflow_name or None,
            "metadata": _json(self.details),
            "timeout_seconds": self.timeout_seconds,
            "max_retries": self.max_retries,
            "category": self.category.slug if self.category else None,
            "pic_team": self.team.slug if self.team else None,
            "end_date": self.end_date.isoformat() if self.end_date else None,
            "enable_email_notifications": bool(self.enable_email_notifications),
            "notification_emails": _json(self.notification_emails),
            "notify_on_success": bool(self.notify_on_success),
            "alert_after": self.alert_after,
            "created_by": str(self.created_by_id),
            "is_active": bool(self.is_active),
            "created_at": _utc(self.created_at),
            "updated_at": _utc(self.updated_at),
            "last_execution_at": _utc(self.last_execution_at),
            "last_status": self.last_status or None,
            "next_execution_at": _utc(self.next_run_at),
        }


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _utc(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z") if moment else None


def session() -> Iterator[Session]:
    with Session(engine) as one:
        yield one


@app.get("/jobs")
def list_jobs(db: Session = Depends(session)) -> dict[str, Any]:  # noqa: B008, FastAPI's way
    query = (
        select(Job).options(joinedload(Job.category), joinedload(Job.team)).order_by(Job.created_at.desc())
    )
    jobs = db.scalars(query).all()
    return {"count": len(jobs), "jobs": [job.to_dict() for job in jobs]}
