"""What stops a running analysis and what runs one again, for the API and the pages."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.errors import FieldRejected, RequestRejected
from app.jobs.pubsub import Work
from app.jobs.queue import cancel, retry
from app.web.dependencies import Services
from app.web.openapi import QUESTION_LIMIT
from app.web.uploads import read_parts


def stop_analysis(served: Services, analysis_id: str) -> None:
    """Cancel an analysis and tell whoever follows it.

    Raises:
        NotFound: there is no analysis of that id.
        AnalysisDone: it is done already.
    """
    cancel(served.store, analysis_id)
    served.publisher.publish(analysis_id, ended=True)


async def retry_analysis(request: Request, served: Services, analysis_id: str) -> None:
    """Queue a failed or cancelled analysis again, with the question that the request repeats.

    Raises:
        NotFound: there is no analysis of that id.
        AnalysisDone: it is done already.
        RequestRejected: a field is unknown or invalid, or the question is missing.
        QueueFull: too many analyses are waiting.
    """
    async with read_parts(request, ("question",)) as parts:
        if parts.files:
            raise RequestRejected("The image is kept; send the question alone, if there was one.")
        question = parts.fields.get("question")
    if question is not None and len(question) > QUESTION_LIMIT:
        raise FieldRejected("question", f"The question has more than {QUESTION_LIMIT} characters.")
    limit = served.settings.queue_limit
    if await run_in_threadpool(retry, served.store, analysis_id, question, limit):
        served.publisher.publish(analysis_id)
        await run_in_threadpool(served.publisher.offer, Work.ANALYSIS)
