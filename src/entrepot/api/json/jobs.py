"""The jobs of an account: imports of URLs that it asked for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from entrepot import wire
from entrepot.api import auth
from entrepot.api.http_context import HttpContext
from entrepot.api.json.plane import Caller, Ctx, JsonReply, JsonRoutes, Svc
from entrepot.api.models import Timestamp
from entrepot.api.parameters import flag, query
from entrepot.domain.errors import Code, Problem
from entrepot.domain.jobs import Job

DEFAULT_PAGE, LARGEST_PAGE = 100, 1000

jobs = JsonRoutes("Jobs")


class JobProgress(BaseModel):
    """Bytes received so far; `total` is null while it is not known."""

    bytes: int
    total: int | None


class JobFailure(BaseModel):
    code: str
    message: str
    fix: str


class JobView(BaseModel):
    """A job as its owner sees it. `target` says where the URL goes, without the secrets of the URL."""

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    target: dict[str, Any]
    progress: JobProgress
    attempts: int
    result: dict[str, Any] | None
    error: JobFailure | None
    created_at: Timestamp
    updated_at: Timestamp


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]


WAIT = flag("wait", "false: reply at once with 202 and the job.", default=True)
ACCEPTED: dict[str, Any] = {
    "responses": {
        "202": {
            "description": "The job, with wait=false.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobView"}}},
        }
    }
}


@jobs.get(
    wire.JOBS,
    right=auth.key_holder,
    errors="400 401",
    parameters=(
        query("limit", "The most jobs to list.", type="integer", minimum=1, maximum=LARGEST_PAGE, default=DEFAULT_PAGE),
        query("before", "The id of a job: list older ones than it."),
    ),
)
async def list_jobs(ctx: Ctx, caller: Caller, services: Svc) -> JobList:
    """List the account's jobs, newest first."""
    found = await services.jobs.list(caller, _limit(ctx), ctx.single_query("before"))
    return JobList(jobs=[job_view(job) for job in found])


@jobs.get(f"{wire.JOBS}/{{job_id}}", right=auth.key_holder, errors="401 404")
async def get_job(ctx: Ctx, caller: Caller, services: Svc) -> JobView:
    """Describe a job. Ended jobs are forgotten after a day."""
    return job_view(await services.jobs.get(caller, ctx.path_param("job_id")))


@jobs.post(f"{wire.JOBS}/{{job_id}}/cancel", right=auth.key_holder, errors="401 404")
async def cancel_job(ctx: Ctx, caller: Caller, services: Svc) -> JobView:
    """Cancel a job.

    A running job is cancelled a moment later; one that has ended stays as it is.
    """
    return job_view(await services.jobs.cancel(caller, ctx.path_param("job_id")))


def accepted(job: Job) -> JsonReply:
    """The reply to a request that does not wait for its job."""
    return JsonReply(job_view(job).model_dump(), status_code=202)


def job_view(job: Job) -> JobView:
    error = job.error and JobFailure(code=job.error["code"], message=job.error["message"], fix=job.error["fix"])
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state.value,
        target=dict(job.target),
        progress=JobProgress(bytes=job.done, total=job.total),
        attempts=job.attempts,
        result=None if job.result is None else dict(job.result),
        error=error or None,
        created_at=wire.timestamp(job.created_at),
        updated_at=wire.timestamp(job.updated_at),
    )


def _limit(ctx: HttpContext) -> int:
    text = ctx.single_query("limit")
    limit = DEFAULT_PAGE if text is None else wire.whole_number(text)
    if limit is None or not 1 <= limit <= LARGEST_PAGE:
        message = f"It must be a whole number from 1 to {LARGEST_PAGE}."
        raise Problem(Code.VALIDATION_FAILED, message, where=("query", "limit"))
    return limit
