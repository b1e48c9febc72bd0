"""Faults that a test injects, as errors of Azure."""

from errors import ArmError
from web import Reply


def error_of(fault):
    return ArmError(
        fault.get("status", 500),
        fault.get("code", "InternalServerError"),
        fault.get("message", "An injected fault."),
        fault.get("target"),
        fault.get("details"),
        fault.get("headers"),
    )


def reply_of(fault):
    """Returns the answer in the place of a request."""
    error = error_of(fault)
    return Reply(error.status, fault["body"] if "body" in fault else error.body(), error.headers)


def fail_operation(request, fault):
    """Lets the operation fail that a request starts."""
    request.operation_fault = error_of(fault)
