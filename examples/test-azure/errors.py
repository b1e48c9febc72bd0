"""Errors of the service, in the shape in which Azure Resource Manager answers them."""


class ArmError(Exception):
    """An answer `{"error": {"code", "message", "target"?, "details"?}}` with an HTTP status."""

    def __init__(self, status, code, message, target=None, details=None, headers=None, more=None):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.target, self.details, self.headers, self.more = target, details, headers or {}, more or {}

    def error(self):
        shown = {"code": self.code, "message": self.message}
        if self.target is not None:
            shown["target"] = self.target
        if self.details is not None:
            shown["details"] = self.details
        return shown | self.more

    def body(self):
        return {"error": self.error()}


def invalid_parameter(target, message):
    return ArmError(400, "InvalidParameter", message, target)


def missing(name):
    return invalid_parameter(name, f"Required parameter '{name}' is missing (null).")


def invalid_content(message):
    return ArmError(
        400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{message}'."
    )


def group_not_found(name):
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def not_found(kind, name, group):
    message = (
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found. For more details please go to"
        " https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", message)


def reference_not_found(missing_id, by):
    message = (
        f"Resource {missing_id} referenced by resource {by} was not found. Please make sure that the referenced"
        " resource exists, and that both resources are in the same region."
    )
    return ArmError(400, "InvalidResourceReference", message, details=[])


def being_deleted(operation, name):
    message = (
        f"Operation '{operation}' is not allowed on VM '{name}' since the VM is marked for deletion. You can only retry"
        " the Delete operation (or wait for an ongoing one to complete)."
    )
    return ArmError(409, "OperationNotAllowed", message)


def change_not_allowed(name):
    return ArmError(409, "PropertyChangeNotAllowed", f"Changing property '{name}' is not allowed.", name)
