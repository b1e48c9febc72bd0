"""The real cloud-init as the reader of a server's metadata: `read_with_cloud_init.py < SERVER.json`, with a Python that has
`cloudinit` and `serial` (Debian's `cloud-init` brings both for `/usr/bin/python3`).

The server's JSON is answered on a pseudo terminal as CloudSigma does it on a guest's second serial port: `<`, a path, `>` are
answered with JSON, or the text itself, and the byte 4. Prints what cloud-init made of it.
"""

import json
import os
import pty
import sys
import tempfile
import threading
import tty

END = b"\n\x04"


def value_at(server, path):
    """Returns what a guest reads under a path such as `/meta/ssh_public_key`; nothing is an empty text."""
    found = server
    for step in path.strip().strip("/").split("/"):
        if step:
            found = found.get(step, "") if isinstance(found, dict) else ""
    return found


def serve(port, server):
    question = b""
    while True:
        question += os.read(port, 256)
        while b">" in question:
            asked, question = question.split(b">", 1)
            found = value_at(server, asked.split(b"<")[-1].decode())
            text = found if isinstance(found, str) else json.dumps(found)
            os.write(port, text.encode() + END)


def main():
    server = json.load(sys.stdin)
    ours, theirs = pty.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    threading.Thread(target=serve, args=(ours, server), daemon=True).start()

    import cloudinit.sources.helpers.cloudsigma as serial_port
    from cloudinit import helpers
    from cloudinit.sources.DataSourceCloudSigma import DataSourceCloudSigma

    serial_port.SERIAL_PORT = os.ttyname(theirs)
    with tempfile.TemporaryDirectory() as folder:
        source = DataSourceCloudSigma({}, None, helpers.Paths({"run_dir": folder, "cloud_dir": folder}))
        # It looks at the machine's firmware, which is not CloudSigma's here.
        source.is_running_in_cloudsigma = lambda: True
        is_found = source._get_data()
        data = source.userdata_raw
        hostname = source.get_hostname()
        shown = {
            "found": is_found,
            "id": source.get_instance_id(),
            "hostname": str(getattr(hostname, "hostname", hostname)),
            "keys": source.get_public_ssh_keys(),
            "user_data": data.decode() if isinstance(data, bytes) else data,
        }
        print(json.dumps(shown))


if __name__ == "__main__":
    main()
