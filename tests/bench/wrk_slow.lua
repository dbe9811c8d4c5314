-- SPDX-License-Identifier: Apache-2.0
-- wrk -s: connections that stay and are not busy: a request of each every 40 ms; and the report of wrk_report.lua.
dofile(debug.getinfo(1, "S").source:sub(2):match("^(.*)/") .. "/wrk_report.lua")

function delay()
    return 40
end
