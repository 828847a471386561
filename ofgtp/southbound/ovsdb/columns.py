"""The tables and columns of the database `Open_vSwitch` that are used, and its rows' type."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "Open_vSwitch": [
        "bridges",
        "cur_cfg",
        "next_cfg",
        "ovs_version",
        "iface_types",
        "other_config",
        "external_ids",
    ],
    "Bridge": [
        "name",
        "ports",
        "controller",
        "datapath_type",
        "datapath_id",
        "fail_mode",
        "protocols",
        "flow_tables",
        "other_config",
        "external_ids",
    ],
    "Flow_Table": ["prefixes", "external_ids"],
    "Port": ["name", "interfaces", "external_ids"],
    "Interface": [
        "name",
        "type",
        "options",
        "mac",
        "mac_in_use",
        "ifindex",  # not read: it has us look when an interface goes or comes
        "ofport",
        "ofport_request",
        "mtu_request",
        "error",
        "external_ids",
    ],
    "Controller": [
        "target",
        "connection_mode",
        "inactivity_probe",
        "max_backoff",
        "is_connected",
        "external_ids",
    ],
}

Row = Any
"""python-ovs makes its rows' attributes at run time, from the database's schema; a row that may
be missing is None."""
