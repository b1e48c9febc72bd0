"""Settings that a test may change while the server runs, and what this CloudSigma has from the start."""

ACCOUNT = "6f670b3c-0000-4000-8000-000000000001"
OWNER = "c2fc9982-0000-4000-8000-000000000002"
EMAIL = "user@example.com"
PASSWORD = "test~Password.of/the test:CloudSigma"
LIBRARY_DRIVE = "c7105ec8-0000-4000-8000-000000000003"
VLAN = "10619300-0000-4000-8000-000000000004"
STATIC_ADDRESS = "94.26.101.182"

DEFAULTS = {
    # Seconds that a clone, a start, a stop and a shutdown take.
    "clone_seconds": 0.2,
    "start_seconds": 0.1,
    "stop_seconds": 0.1,
    "shutdown_seconds": 1,
    # Whether guests react to a shutdown; otherwise they run on after that time.
    "reacts_to_shutdown": True,
    # Seconds for which a server is still shown after its deletion, and its drives are mounted.
    "delete_seconds": 0,
    "unmount_seconds": 0,
    # Seconds for which something new is missing in lists.
    "list_lag": 0,
    # Entries of a page unless the request says otherwise, and at most (null: as many as one likes).
    "page_size": 20,
    "max_page_size": None,
    # State of jobs that clone when they end; what is not `success` is a failure, and the drive is unavailable.
    "clone_ends": "success",
    # Servers that the account may have, and the money that is left: each start takes 1.
    "max_servers": None,
    "balance": None,
    # Refuses a change of a resource that was changed less than so many seconds ago, as often as `concurrency_times`.
    "concurrency_times": 0,
}
