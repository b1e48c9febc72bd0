"""Capacity and quota of virtual machines: what is refused, in the answer or in the operation."""

from errors import ArmError

# Codes that the operation ends with, and not the answer.
IN_OPERATION = (
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "OSProvisioningTimedOut",
    "InternalExecutionError",
)
GUIDANCE = "Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
CONSTRAINED = (
    "Allocation failed. VM(s) with the following constraints cannot be allocated, because the condition is too"
    " restrictive. Please remove some constraints and try again. Constraints applied are:\n"
)
MESSAGES = {
    "AllocationFailed": (
        f"Allocation failed. We do not have sufficient capacity for the requested VM size in this region. {GUIDANCE}"
    ),
    "ZonalAllocationFailed": (
        f"Allocation failed. We do not have sufficient capacity for the requested VM size in this zone. {GUIDANCE}"
    ),
    "OverconstrainedAllocationRequest": (
        f"{CONSTRAINED}  - Networking Constraints (such as Accelerated Networking or IPv6)\n  - VM Size\n"
    ),
    "OverconstrainedZonalAllocationRequest": f"{CONSTRAINED}  - Availability Zone\n  - VM Size\n",
    "OSProvisioningTimedOut": (
        "OS Provisioning for VM did not finish in the allotted time. The VM may still finish provisioning successfully."
        " Please check provisioning state later."
    ),
}


def beyond_quota(code, location, limit, used, needed):
    message = (
        "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional"
        f" details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage:"
        f" {used}, Additional Required: {needed}, (Minimum) New Limit Required: {used + needed}. Setup Alerts when"
        " Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota"
        " increase at https://aka.ms/ProdportalCRP/#blade/Microsoft_Azure_Capacity/UsageAndQuota.ReactView by"
        " specifying parameters listed in the 'Details' section for deployment to succeed."
    )
    return ArmError(409, code, message)


def error(code, size, location, zones):
    """Returns the error for a code that a test or the name of a size asks for."""
    if code in ("QuotaExceeded", "OperationNotAllowed"):
        return beyond_quota(code, location, 10, 8, 4)
    if code == "SkuNotAvailable":
        place = f"location '{location}'" + (f" zone '{zones[0]}'" if zones else "")
        message = (
            f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' is"
            f" currently not available in {place}. Please try another size or deploy to a different location or"
            " different zone. See https://aka.ms/azureskunotavailable for details."
        )
        return ArmError(409, code, message)
    return ArmError(409, code, MESSAGES.get(code, f"The request failed with {code}."))
