"""Requests of Azure Resource Manager. What reads them is shared with the state machines of other clouds."""

import json
import pathlib
import sys
import uuid

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "test-common"))

import serving  # noqa: E402
from errors import ArmError, invalid_content  # noqa: E402
from serving import Dropped, Reply, Server  # noqa: E402, F401


class Request(serving.Request):
    """A request with its API version."""

    def __init__(self, method, target, headers, body, base):
        super().__init__(method, target, headers, body, base)
        self.version = self.query.get("api-version", "")
        # The failure of the operation that this request starts.
        self.operation_fault = None

    def json(self):
        """Returns the body, an object."""
        try:
            body = json.loads(self.body or b"null")
        except ValueError as error:
            raise invalid_content(str(error).replace("'", '"')) from None
        if not isinstance(body, dict):
            raise ArmError(
                400, "InvalidRequestContent", "The request content is not valid and could not be deserialized."
            )
        # What a PUT leaves empty, it leaves out.
        return without_nulls(body) if self.method == "PUT" else body


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def refuse(status, message):
    """Answers what is no request."""
    codes = {411: "LengthRequired", 413: "RequestContentTooLarge"}
    return Reply(status, ArmError(status, codes.get(status, "BadRequest"), message).body())


def headers(request_headers):
    """Returns the headers of every answer."""
    found = {
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-correlation-request-id": str(uuid.uuid4()),
        "Cache-Control": "no-cache",
    }
    client = request_headers.get("x-ms-client-request-id")
    if client and request_headers.get("x-ms-return-client-request-id", "").lower() == "true":
        found["x-ms-client-request-id"] = client
    return found
