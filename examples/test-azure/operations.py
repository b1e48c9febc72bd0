"""Long-running operations: `Azure-AsyncOperation`, `Location`, `Retry-After`."""

import datetime
import uuid

from errors import ArmError
from web import Reply


def timestamp(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0+00:00"


class Operation:
    """An operation under way, or one that ended."""

    def __init__(self, cloud, provider, location, version, resource):
        self.id, self.provider, self.location, self.version = str(uuid.uuid4()), provider, location, version
        self.resource = resource
        self.started, self.ended = cloud.now(), None
        self.status, self.error = "InProgress", None
        cloud.operations[self.id] = self

    def url(self, cloud, request, kind="operations", more=""):
        base = cloud.settings["operation_base"] or request.base
        # Today's URLs carry a signature, and are long.
        signature = f"&t={int(self.started * 1e7)}&c={'MIIH' + self.id.replace('-', '') * 8}&s={self.id[:8]}"
        if self.provider == "Microsoft.ContainerInstance":
            signature = ""
        return (
            f"{base}/subscriptions/{cloud.subscription}/providers/{self.provider}/locations/{self.location}/{kind}/{self.id}"
            f"?{more}api-version={self.version}{signature}"
        )

    def end(self, cloud, error=None):
        if self.status == "InProgress":
            self.status, self.error, self.ended = ("Failed" if error else "Succeeded"), error, cloud.now()

    def cancel(self, cloud):
        if self.status == "InProgress":
            self.status, self.ended = "Canceled", cloud.now()
            message = "The operation has been preempted by a more recent operation."
            self.error = ArmError(409, "OperationPreempted", message)


def start(cloud, request, resource, provider, location, done, failure=None, seconds=None, version=None):
    """Starts an operation. `done` is called at its end with the failure or nothing, unless it was cancelled before."""
    operation = Operation(cloud, provider, location, version or request.version, resource)
    if seconds is None:
        seconds = cloud.delay(request.method, resource.type)
    fault = request.operation_fault

    def finish():
        if operation.status == "InProgress":
            error = fault or failure
            done(error)
            operation.end(cloud, error)

    cloud.later(seconds, finish)
    return operation


def accepted(cloud, request, operation, status, body=None, has_location=False, has_operation=True):
    """Returns the answer to a request whose operation goes on."""
    headers = {}
    if has_operation:
        headers["Azure-AsyncOperation"] = operation.url(cloud, request)
    if has_location:
        if operation.provider == "Microsoft.Compute":
            headers["Location"] = operation.url(cloud, request, more="monitor=true&")
        else:
            headers["Location"] = operation.url(cloud, request, "operationResults")
    if cloud.settings["retry_after"] is not None:
        headers["Retry-After"] = str(cloud.settings["retry_after"])
    return Reply(status, body, headers)


def answer(cloud, request, id, kind):
    """Answers a question about an operation: `operations`, `operationResults` or `monitor=true`."""
    operation = cloud.operations.get(id.lower())
    if operation is None:
        raise ArmError(404, "NotFound", f"The operation '{id}' was not found.")
    waits = operation.status == "InProgress"
    headers = {}
    if waits and cloud.settings["retry_after"] is not None:
        headers["Retry-After"] = str(cloud.settings["retry_after"])
    if kind.lower() == "operationresults" or request.query.get("monitor") == "true":
        if waits:
            headers["Location"] = request.base + request.target
            return Reply(202, None, headers)
        if operation.error is not None:
            raise operation.error
        return Reply(200, None, headers)
    if operation.provider == "Microsoft.ContainerInstance":
        body = {
            "id": operation.resource.id,
            "status": "Pending" if waits else operation.status,
            "startTime": timestamp(operation.started)[:-6] + "Z",
            "properties": {"events": operation.resource.more.get("operation_events", lambda: [])()},
        }
    elif operation.provider == "Microsoft.Network":
        body = {"status": operation.status}
    else:
        body = {"startTime": timestamp(operation.started)}
        if operation.ended is not None:
            body["endTime"] = timestamp(operation.ended)
        body |= {"status": operation.status, "name": operation.id}
    if operation.error is not None:
        body["error"] = operation.error.error()
    return Reply(200, body, headers)
