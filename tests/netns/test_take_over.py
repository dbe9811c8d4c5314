# SPDX-License-Identifier: Apache-2.0
"""New tables beside the old ones: other limits, or another layout. Open connections, slots in transition, drains and counters
go along."""

import pytest

from lab import BUILD, LBD, wait_for
from test_transitions import Crowd, backends, config_of, in_transition, moving, shares

CONNECTIONS = 500
NEXT = BUILD / "ctl/lbd/lbd-next"  # the same program, of the next layout


@pytest.mark.parametrize("change", ["limits", "layout"])
def test_open_connections_go_along(bench, change):
    lab = moving(bench, pool={"idle_timeout": "1h"})
    before = lab.lbd.program_id()
    with Crowd(lab, CONNECTIONS, interval=0.5) as crowd:
        assert crowd.servers() == {"master", "slave"}
        lab.lbd.lbctl("drain", "master")
        moved = in_transition(lab)
        assert moved > 300, "about half of 1,024 slots were Master's"
        late = Crowd(lab, 20)  # pinned to Slave where slots are in transition
        with late:
            assert late.servers() == {"slave"}
            packets = sum(row["packets"] for row in backends(lab).values())
            lab.lbd.stop()
            if change == "limits":
                lab.lbd.write_config(config_of(lab, pool={"idle_timeout": "1h"}) + "\n[limits]\npins = 2097152\nslots = 65536\n")
            lab.lbd.start(program=NEXT if change == "layout" else LBD)
            assert "new tables take over" in lab.lbd.log()
            assert lab.lbd.program_id() != before
            assert in_transition(lab) == moved
            assert shares(lab)["master"]["slots"] == 0 and backends(lab)["master"]["drained"]
            assert sum(row["packets"] for row in backends(lab).values()) >= packets
            wait_for(lambda: shares(lab)["slave"]["pins"], "pins to be counted", 60)
            crowd.assert_kept("with new tables")
            late.assert_kept("with new tables, pinned")
            assert not crowd.broken() and not late.broken()
