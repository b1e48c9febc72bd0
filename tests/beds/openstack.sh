#!/bin/bash
# A whole OpenStack on this machine, for tests: Keystone, Glance, Placement, Neutron and Nova as Debian 12 packages them, with
# Nova's fake hypervisor. It changes nothing on the machine: it has a root of its own and listens on 127.0.0.1.
#
#   openstack.sh up      installs it (once: 10 minutes, 2.3 GB), starts it, and prints the variables that describe it
#   openstack.sh down    ends it
#
# As root. Everything is kept in $BED_DIR, by default ~/.cache/occopus-beds/openstack.
set -euo pipefail

BED=${BED_DIR:-$HOME/.cache/occopus-beds/openstack}
ROOT=$BED/root RUN=$BED/run LOG=$BED/log
KEYSTONE=15000 GLANCE=15292 PLACEMENT=15778 NOVA=15774 NEUTRON=15696 AMQP=15671 AMQP_DIST=15673 EPMD=14369
AUTH=http://127.0.0.1:$KEYSTONE/v3
ML2=/etc/neutron/plugins/ml2/ml2_conf.ini

say() { echo "$*" >&2; }
inside() { chroot "$ROOT" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }

# service NAME COMMAND...: in the background, with its group's id in run/NAME
service() {
    local name=$1
    shift
    setsid chroot "$ROOT" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@" \
        >>"$LOG/$name" 2>&1 </dev/null &
    echo $! >"$RUN/$name"
}

# web NAME PORT PROGRAM PROCESSES
web() {
    service "$1" uwsgi_python3 --master --die-on-term --lazy-apps --need-app --buffer-size 65535 --post-buffering 65535 \
        --add-header "Connection: close" --http-socket "127.0.0.1:$2" --wsgi-file "$3" --processes "$4" --threads 1 \
        --enable-threads --thunder-lock --disable-logging
}

# until_true WHAT COMMAND...
until_true() {
    local what=$1
    shift
    for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    say "$what does not come up; see $LOG"
    exit 1
}
answers() { curl -s -o /dev/null "http://127.0.0.1:$1/"; }

mounted() {
    for folder in proc sys dev; do mountpoint -q "$ROOT/$folder" || mount --bind "/$folder" "$ROOT/$folder"; done
}

install_packages() {
    command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap
    local mirror
    mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
    [ -d "$ROOT/usr" ] || debootstrap --variant=minbase bookworm "$ROOT" "${mirror:-http://deb.debian.org/debian}"
    # Packages start nothing by themselves.
    printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
    chmod +x "$ROOT/usr/sbin/policy-rc.d"
    cp /etc/hosts /etc/resolv.conf "$ROOT/etc/"
    mounted
    inside apt-get update -qq
    inside DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends keystone glance placement-api \
        nova-api nova-conductor nova-scheduler nova-compute neutron-server neutron-plugin-ml2 rabbitmq-server mariadb-server \
        python3-openstackclient python3-pymysql uwsgi-plugin-python3
}

database() { echo "mysql+pymysql://os:os@localhost/$1?unix_socket=/run/mysqld/mysqld.sock&charset=utf8"; }

# user NAME: the credentials of a service for Keystone
user() {
    printf '%s\n' "auth_url = $AUTH" "auth_type = password" "project_domain_name = Default" \
        "user_domain_name = Default" "region_name = RegionOne" "project_name = service" "username = $1" "password = secret"
}
checks() { printf '[keystone_authtoken]\nwww_authenticate_uri = %s\n' "$AUTH"; user "$1"; }

configure() {
    local amqp="rabbit://guest:guest@127.0.0.1:$AMQP/"
    cat >"$ROOT/etc/keystone/keystone.conf" <<X
[DEFAULT]
use_stderr = true
[database]
connection = $(database keystone)
[token]
provider = fernet
X
    cat >"$ROOT/etc/glance/glance-api.conf" <<X
[DEFAULT]
bind_host = 127.0.0.1
bind_port = $GLANCE
workers = 0
use_stderr = true
enabled_backends = fs:file
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = /var/lib/glance/images/
[database]
connection = $(database glance)
[paste_deploy]
flavor = keystone
$(checks glance)
X
    cat >"$ROOT/etc/placement/placement.conf" <<X
[DEFAULT]
use_stderr = true
[placement_database]
connection = $(database placement)
[api]
auth_strategy = keystone
$(checks placement)
X
    # Without a real network, Nova gets no event that a port is plugged.
    cat >"$ROOT/etc/nova/nova.conf" <<X
[DEFAULT]
use_stderr = true
state_path = /var/lib/nova
transport_url = $amqp
my_ip = 127.0.0.1
enabled_apis = osapi_compute
compute_driver = fake.FakeDriver
reserved_host_disk_mb = 0
reserved_host_memory_mb = 0
cpu_allocation_ratio = 16
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
[api_database]
connection = $(database nova_api)
[database]
connection = $(database nova)
[api]
auth_strategy = keystone
[glance]
api_servers = http://127.0.0.1:$GLANCE
[placement]
$(user placement)
[neutron]
$(user neutron)
endpoint_override = http://127.0.0.1:$NEUTRON
[cinder]
auth_type =
[oslo_concurrency]
lock_path = /var/lib/nova/tmp
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 10
[quota]
instances = -1
cores = -1
ram = -1
$(checks nova)
X
    mkdir -p "$ROOT/etc/neutron/plugins/ml2" "$ROOT/var/lib/nova/tmp" "$ROOT/var/lib/nova/instances" \
        "$ROOT/var/lib/neutron/tmp" "$ROOT/var/lib/glance/images"
    cat >"$ROOT/etc/neutron/neutron.conf" <<X
[DEFAULT]
use_stderr = true
bind_host = 127.0.0.1
bind_port = $NEUTRON
core_plugin = ml2
service_plugins = router
auth_strategy = keystone
transport_url = $amqp
api_workers = 1
rpc_workers = 0
rpc_state_report_workers = 0
state_path = /var/lib/neutron
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
agent_down_time = 999999
[database]
connection = $(database neutron)
[oslo_concurrency]
lock_path = /var/lib/neutron/tmp
[quotas]
default_quota = -1
quota_port = -1
[nova]
$(user nova)
[placement]
$(user placement)
$(checks neutron)
X
    cat >"$ROOT$ML2" <<X
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = openvswitch
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
X
}

start_database() {
    mkdir -p "$ROOT/run/mysqld"
    chown --reference="$ROOT/var/lib/mysql" "$ROOT/run/mysqld"
    service mariadb mariadbd --user=mysql --skip-networking --socket=/run/mysqld/mysqld.sock --datadir=/var/lib/mysql \
        --innodb-flush-log-at-trx-commit=0 --performance-schema=OFF --max-connections=500
    until_true MariaDB inside mariadb-admin ping
}

start_queue() {
    service epmd epmd -port $EPMD -address 127.0.0.1
    service rabbitmq ERL_EPMD_PORT=$EPMD HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=bed@localhost RABBITMQ_NODE_PORT=$AMQP \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$AMQP_DIST RABBITMQ_LOGS=- \
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}" \
        setpriv --reuid rabbitmq --regid rabbitmq --clear-groups /usr/lib/rabbitmq/bin/rabbitmq-server
    until_true RabbitMQ bash -c "exec 3<>/dev/tcp/127.0.0.1/$AMQP"
}

# admin PYTHON: with a connection `cloud` of the administrator, a database `sql`, and `url` to make addresses
admin() {
    inside python3 - <<X
import json, openstack, pymysql, uuid
cloud = openstack.connect(auth_url="$AUTH", username="admin", password="secret", project_name="admin",
                          user_domain_name="Default", project_domain_name="Default", region_name="RegionOne")
url = "http://127.0.0.1:{}".format
sql = pymysql.connect(unix_socket="/run/mysqld/mysqld.sock", user="os", password="os", autocommit=True).cursor()
$1
X
}

set_up() {
    configure
    start_database
    for name in keystone glance placement nova nova_api nova_cell0 neutron; do
        echo "CREATE OR REPLACE DATABASE $name CHARACTER SET utf8; GRANT ALL ON $name.* TO os@localhost IDENTIFIED BY 'os';"
    done | inside mariadb
    inside keystone-manage db_sync
    inside keystone-manage fernet_setup --keystone-user root --keystone-group root
    inside keystone-manage credential_setup --keystone-user root --keystone-group root
    inside keystone-manage bootstrap --bootstrap-password secret --bootstrap-region-id RegionOne \
        --bootstrap-admin-url $AUTH --bootstrap-internal-url $AUTH --bootstrap-public-url $AUTH
    inside glance-manage db_sync
    inside placement-manage db sync
    inside nova-manage api_db sync
    inside nova-manage cell_v2 map_cell0 --database_connection "$(database nova_cell0)"
    inside nova-manage cell_v2 create_cell --name cell1
    inside nova-manage db sync
    inside neutron-db-manage --config-file /etc/neutron/neutron.conf --config-file $ML2 upgrade heads
    web keystone $KEYSTONE /usr/bin/keystone-wsgi-public 2
    until_true Keystone answers $KEYSTONE
    admin '
role = cloud.identity.find_role("admin")
service = cloud.identity.create_project(name="service", domain_id="default")
for name in ("nova", "glance", "neutron", "placement"):
    user = cloud.identity.create_user(name=name, password="secret", domain_id="default")
    cloud.identity.assign_project_role_to_user(service, user, role)
for name, kind, address in (("nova", "compute", url('$NOVA') + "/v2.1"), ("glance", "image", url('$GLANCE')),
                            ("placement", "placement", url('$PLACEMENT')), ("neutron", "network", url('$NEUTRON'))):
    made = cloud.identity.create_service(name=name, type=kind)
    for interface in ("public", "internal", "admin"):
        cloud.identity.create_endpoint(service_id=made.id, url=address, interface=interface, region_id="RegionOne")
demo = cloud.identity.create_project(name="demo", domain_id="default")
user = cloud.identity.create_user(name="demo", password="secret", domain_id="default", default_project_id=demo.id)
cloud.identity.assign_project_role_to_user(demo, user, cloud.identity.find_role("member"))
'
    stop
    touch "$BED/is-set-up"
}

start() {
    start_database
    start_queue
    web keystone $KEYSTONE /usr/bin/keystone-wsgi-public 3
    web placement $PLACEMENT /usr/bin/placement-api 2
    service glance glance-api --config-file /etc/glance/glance-api.conf
    service neutron neutron-server --config-file /etc/neutron/neutron.conf --config-file $ML2
    web nova-api $NOVA /usr/bin/nova-api-wsgi 3
    for part in conductor scheduler compute; do
        service nova-$part nova-$part --config-file /etc/nova/nova.conf
    done
    for port in $KEYSTONE $PLACEMENT $GLANCE $NEUTRON $NOVA; do until_true "what listens at port $port" answers $port; done
    [ -e "$BED/is-filled" ] || fill
}

# Resources of the tests. There is no agent of the network; a record of one that was alive in the far future suffices.
fill() {
    admin '
import socket, time
sql.execute("""insert into neutron.agents (id, agent_type, `binary`, topic, host, admin_state_up, created_at, started_at,
    heartbeat_timestamp, configurations, `load`) values (%s, "Open vSwitch agent", "neutron-openvswitch-agent", "N/A", %s, 1,
    now(), now(), "2099-01-01 00:00:00", %s, 0)""", (str(uuid.uuid4()), socket.gethostname(), json.dumps(
    {"bridge_mappings": {"outside": "br-ex"}, "tunnel_types": [], "datapath_type": "system",
     "integration_bridge": "br-int", "ovs_capabilities": {"datapath_types": ["system"], "iface_types": []}})))
cloud.image.create_image(name="tiny", data=b"x" * 1024, disk_format="raw", container_format="bare", visibility="public")
cloud.compute.create_flavor(name="m1.tiny", vcpus=1, ram=512, disk=1)
inside = cloud.network.create_network(name="inside", is_shared=True)
subnet = cloud.network.create_subnet(network_id=inside.id, ip_version=4, cidr="10.77.0.0/16", is_dhcp_enabled=False)
outside = cloud.network.create_network(name="ext", is_router_external=True, provider_network_type="flat",
                                       provider_physical_network="outside")
cloud.network.create_subnet(network_id=outside.id, ip_version=4, cidr="203.0.113.0/24", is_dhcp_enabled=False)
router = cloud.network.create_router(name="router", external_gateway_info={"network_id": outside.id})
cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
while not list(cloud.compute.hypervisors()):
    time.sleep(1)
'
    touch "$BED/is-filled"
}

stop() {
    for name in nova-compute nova-scheduler nova-conductor nova-api neutron glance placement keystone rabbitmq epmd mariadb; do
        [ -e "$RUN/$name" ] || continue
        group=$(cat "$RUN/$name")
        kill -TERM -- "-$group" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 -- "-$group" 2>/dev/null || break; sleep 0.2; done
        kill -KILL -- "-$group" 2>/dev/null || true
        rm "$RUN/$name"
    done
}

mkdir -p "$ROOT" "$RUN" "$LOG"
case ${1:-} in
up)
    if ! answers $NOVA; then
        [ -e "$BED/is-installed" ] || { say "installing OpenStack into $BED"; install_packages >&2; touch "$BED/is-installed"; }
        mounted
        [ -e "$BED/is-set-up" ] || { say "setting it up"; set_up >&2; }
        say "starting it"
        start >&2
    fi
    project=$(admin 'print(cloud.identity.find_project("demo").id)')
    printf '%s\n' OS_AUTH_URL=$AUTH OS_USERNAME=demo OS_PASSWORD=secret "OS_PROJECT_ID=$project"
    ;;
down)
    stop
    for folder in dev sys proc; do mountpoint -q "$ROOT/$folder" && umount "$ROOT/$folder"; done
    ;;
*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
esac
