"""Errors of the service, in the shape in which CloudSigma answers them: a list."""


class SigmaError(Exception):
    """An answer `[{"error_type", "error_message", "error_point"}]` with an HTTP status."""

    def __init__(self, status, kind, message, point=None, headers=None):
        super().__init__(f"{status} {kind}: {message}")
        self.status, self.kind, self.message, self.point = status, kind, message, point
        self.headers = headers or {}

    def body(self):
        return [{"error_type": self.kind, "error_message": self.message, "error_point": self.point}]


def not_found(uuid):
    return SigmaError(404, "notexist", f"Object with uuid {uuid} does not exist.")


def invalid(point, message):
    return SigmaError(400, "validation", message, point)


def denied(message):
    return SigmaError(403, "permission", message)


def wrong_state(action, state, wanted):
    return denied(f'Cannot {action} guest in state "{state}". Guest should be in state "{wanted}"')
