"""What HTTP statuses of a DICOMweb service mean for asking again (PS3.18 8.5, RFC 9110 15)."""

from http import HTTPStatus

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_OF_THE_SERVICE = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


def is_success(status: int) -> bool:
    """Return whether the request was taken, at least in part."""
    return 200 <= status < 300


def is_redirect(status: int) -> bool:
    """Return whether the service names another address, which is never followed."""
    return 300 <= status < 400


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later: 408, 425, 429 and 5xx."""
    return status in _TRANSIENT or 500 <= status < 600


def concerns_service(status: int) -> bool:
    """Return whether the status would be the same for any other instance."""
    return status in _OF_THE_SERVICE or is_redirect(status)


def describe_http_status(status: int) -> str:
    """Return the meaning of ``status`` and its number, in words an operator understands, never the peer's."""
    if is_redirect(status):
        return f"The service is at another address (HTTP {status})"
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown status"
    return f"{phrase} (HTTP {status})"
