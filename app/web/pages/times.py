"""Times as a reader without JavaScript sees them."""

from datetime import UTC, datetime, timedelta

_STEPS = (
    (timedelta(days=365), "year"),
    (timedelta(days=30), "month"),
    (timedelta(days=1), "day"),
    (timedelta(hours=1), "hour"),
    (timedelta(minutes=1), "minute"),
)


def utc_text(stamp: str) -> str:
    """Return an ISO 8601 time as text in UTC."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age_text(stamp: str, now: datetime) -> str:
    """Return how long before `now` an ISO 8601 time was; the worklist's script says the same."""
    passed = now - datetime.fromisoformat(stamp)
    for length, name in _STEPS:
        count = passed // length
        if count > 0:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
