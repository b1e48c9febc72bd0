"""Counted requests: `x-ms-ratelimit-remaining-*`, and 429 when a test wants the limits enforced."""

import json

import operations
from errors import ArmError


class Window:
    """Requests of one bucket in its present window."""

    def __init__(self):
        self.start, self.count = 0.0, 0


def buckets(request):
    """Returns the buckets that a request counts in."""
    method, type, action = request.method, request.type.lower(), request.action
    if method in ("PUT", "PATCH", "POST"):
        found = ["subscription-writes"]
    else:
        found = ["subscription-deletes" if method == "DELETE" else "subscription-reads"]
    name = None
    if type == "microsoft.compute/virtualmachines":
        if method == "GET":
            name = "HighCostGet" if action == "list" else "LowCostGet"
        elif method == "POST":
            name = "DeleteVM" if action == "deallocate" else "UpdateVM"
        else:
            name = "DeleteVM" if method == "DELETE" else "PutVM"
    elif type == "microsoft.compute/operations":
        name = "GetOperation"
    if name:
        found += [f"{name}3Min", f"{name}30Min"]
    if type.startswith("microsoft.network/") and method not in ("GET", "HEAD"):
        found.append("network-writes")
    if type == "microsoft.containerinstance/containergroups" and method in ("PUT", "DELETE"):
        found += ["resource-requests-pt5m", "resource-requests-pt1h"]
    return found


class Throttle:
    """Windows of all buckets."""

    def __init__(self, cloud):
        self.cloud, self.windows = cloud, {}

    def clear(self):
        self.windows = {}

    def count(self, request):
        """Counts a request, and returns the headers that say what is left; refuses it beyond a limit."""
        headers, resource = {}, []
        for name in buckets(request):
            limit, seconds = self.cloud.settings["limits"][name]
            window = self.windows.setdefault(name, Window())
            now = self.cloud.now()
            if now - window.start >= seconds:
                window.start, window.count = now, 0
            if self.cloud.settings["throttle"] and window.count >= limit:
                raise self.refusal(request, name, window, limit, seconds)
            window.count += 1
            left = max(limit - window.count, 0)
            if name[0].isupper():
                resource.append(f"Microsoft.Compute/{name};{left}")
            elif name.startswith("resource"):
                headers[f"x-ms-ratelimit-remaining-subscription-{name}"] = str(left)
            elif name.startswith("subscription"):
                headers[f"x-ms-ratelimit-remaining-{name}"] = str(left)
        if resource:
            headers["x-ms-ratelimit-remaining-resource"] = ",".join(resource)
        return headers

    def refusal(self, request, name, window, limit, seconds):
        wait = max(1, int(window.start + seconds - self.cloud.now()) + 1)
        headers = {"Retry-After": str(wait)}
        if name[0].isupper():
            measured = {
                "operationGroup": name,
                "startTime": operations.timestamp(window.start),
                "endTime": operations.timestamp(window.start + seconds),
                "allowedRequestCount": limit,
                "measuredRequestCount": window.count + 1,
            }
            headers["x-ms-ratelimit-remaining-resource"] = f"Microsoft.Compute/{name};0"
            details = [{"code": "TooManyRequests", "message": json.dumps(measured), "target": name}]
            message = (
                "The server rejected the request because too many requests have been received for this subscription."
            )
            return ArmError(
                429,
                "OperationNotAllowed",
                message,
                details=details,
                headers=headers,
                more={"innererror": {"internalErrorCode": "TooManyRequestsReceived"}},
            )
        if name.startswith("subscription"):
            headers[f"x-ms-ratelimit-remaining-{name}"] = "0"
            message = (
                f"Number of requests for subscription '{self.cloud.subscription}' and operation"
                f" '{request.method}/{request.type.upper()}' exceeded the backend storage limit. Please try again after"
                f" '{wait}' seconds."
            )
            return ArmError(429, "SubscriptionRequestsThrottled", message, headers=headers)
        return ArmError(
            429,
            "TooManyRequests",
            f"The request is being throttled as the limit has been reached for operation type {name}.",
            headers=headers,
        )
