"""Settings that a test may change while the server runs, and the catalogue of what this Azure offers."""

DEFAULTS = {
    # Seconds that an operation takes: of its method and type, of its type, or any other.
    "delays": {"default": 0.2},
    # Seconds in `Retry-After` of accepted and of unfinished operations; null leaves the header out.
    "retry_after": 1,
    # Seconds for which something new is missing in lists, and something deleted still appears in `/resources`.
    "list_lag": 0,
    "list_ghosts": 0,
    # Seconds for which something new answers 404.
    "get_lag": 0,
    # Entries of a page.
    "page_size": 100,
    # Where the links of pages and the URLs of operations lead; null: where the request came to.
    "next_link_base": None,
    "operation_base": None,
    # Whether the last page links to itself, as a fixture of libcloud does.
    "next_link_repeats": False,
    # Whether a network is not to be changed or used while a change of it goes on.
    "network_conflicts": True,
    # Lifetime of tokens, in seconds.
    "token_seconds": 3599,
    # Seconds for which the network card of a virtual machine that failed is reserved for it, and stays when it is deleted
    # (180 in Azure).
    "nic_reserved": 1,
    # Whether the list of states has nothing but the states.
    "sparse_status": False,
    # Seconds for which a subnet is in use after its last container group.
    "sal_seconds": 1,
    # Seconds between the end of a virtual machine and that of what goes with it.
    "dependents_lag": 0,
    # Whether the deletion of a container group answers 202 instead of 200.
    "container_delete_async": False,
    # Seconds until a container that ends by itself has ended.
    "container_run_seconds": 0.5,
    # Cores of a region; null: as many as one likes.
    "cores": None,
    # Container groups of a region.
    "container_groups": None,
    # Whether requests beyond the limits are refused with 429, and the limits: requests in a number of seconds.
    "throttle": False,
    "limits": {
        "subscription-reads": [12000, 3600],
        "subscription-writes": [1200, 3600],
        "subscription-deletes": [15000, 3600],
        "PutVM3Min": [745, 180],
        "PutVM30Min": [3730, 1800],
        "DeleteVM3Min": [240, 180],
        "DeleteVM30Min": [1200, 1800],
        "UpdateVM3Min": [240, 180],
        "UpdateVM30Min": [1200, 1800],
        "LowCostGet3Min": [4000, 180],
        "LowCostGet30Min": [32000, 1800],
        "HighCostGet3Min": [1400, 180],
        "HighCostGet30Min": [7000, 1800],
        "GetOperation3Min": [15000, 180],
        "GetOperation30Min": [30000, 1800],
        "network-writes": [1000, 300],
        "resource-requests-pt5m": [100, 300],
        "resource-requests-pt1h": [300, 3600],
    },
    # Where public addresses come from.
    "public_network": "20.50.0.0/16",
    # Actions that the caller has no right to, as patterns: `Microsoft.Network/*/write`.
    "denied": [],
    # Resource groups beyond which the caller has no rights; null: rights on the subscription.
    "only_groups": None,
    # Marketplace images (`publisher:offer:sku`) whose terms were accepted.
    "accepted_terms": [],
    # Further images: `publisher:offer:sku`, each with `*`.
    "images": [],
}

LOCATIONS = (
    "eastus eastus2 westus westus2 westus3 centralus northcentralus southcentralus westcentralus canadacentral"
    " brazilsouth northeurope westeurope uksouth francecentral germanywestcentral swedencentral norwayeast"
    " switzerlandnorth polandcentral italynorth uaenorth southafricanorth centralindia southeastasia eastasia japaneast"
    " koreacentral australiaeast chinaeast2 chinanorth3 usgovvirginia"
).split()

# Regions without availability zones.
UNZONED = {"westus", "northcentralus", "westcentralus"}

# Sizes with their cores.
SIZES = {
    "Standard_A1_v2": 1,
    "Standard_A2_v2": 2,
    "Standard_B1s": 1,
    "Standard_B1ls": 1,
    "Standard_B1ms": 1,
    "Standard_B2s": 2,
    "Standard_B2ms": 2,
    "Standard_B2ats_v2": 2,
    "Standard_B2als_v2": 2,
    "Standard_B4ms": 4,
    "Standard_D1_v2": 1,
    "Standard_D2_v2": 2,
    "Standard_DS1_v2": 1,
    "Standard_DS2_v2": 2,
    "Standard_D2s_v3": 2,
    "Standard_D4s_v3": 4,
    "Standard_D2s_v4": 2,
    "Standard_D2s_v5": 2,
    "Standard_D4s_v5": 4,
    "Standard_D8s_v5": 8,
    "Standard_D2as_v5": 2,
    "Standard_E2s_v5": 2,
    "Standard_F2s_v2": 2,
    "Standard_F4s_v2": 4,
    "Standard_D2ps_v5": 2,
    "Standard_NC6s_v3": 6,
}

# Images: publisher, offer, sku.
IMAGES = [
    "canonical:*:*",
    "debian:debian-*:*",
    "redhat:rhel*:*",
    "openlogic:centos*:*",
    "suse:*:*",
    "almalinux:*:*",
    "microsoftcblmariner:*:*",
    "microsoftwindowsserver:windowsserver:*",
    "microsoftwindowsdesktop:*:*",
]
# Offers of the above that do not exist, as users write them.
NO_IMAGES = ["canonical:ubuntuserver:2*", "canonical:*nosuch*:*", "canonical:*:*nosuch*"]
# Images that need a plan.
MARKETPLACE = ["bitnami:*:*", "fortinet:*:*", "kali-linux:*:*"]

PROVIDERS = ("Microsoft.Compute", "Microsoft.Network", "Microsoft.ContainerInstance", "Microsoft.Resources")
