// SPDX-License-Identifier: Apache-2.0
// [sync]: every key and value by itself, and what it needs of [ha].
#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const KeyList kSyncKeys = {
    .known = {"key_file", "port", "interval", "rate_mbit", "sync_wait", "full_interval"},
    .reserved = {},
    .elsewhere = {{"mode", "[ha]"},
                  {"peers", "[ha]"},
                  {"hello_port", "[ha]"},
                  {"hash_key_file", "the top of the file"}},
};

constexpr Range kPorts{1, 65'535};
constexpr Range kRates{1, 100'000};

// A mode that is missing or could not be read was reported as such.
void check_mode(const TableReader& top, const Value& table, HaMode mode) {
    constexpr std::string_view kNeeds = "[sync] needs [ha] with mode \"vrrp\" or \"external\": ";
    const auto* ha = top.get("ha");
    if (ha == nullptr && !top.is_misspelt("ha"))
        top.report().add_missing(table.at, std::string(kNeeds) + "without it there is no other node to tell");
    if (ha == nullptr || ha->kind != Kind::kTable || mode != HaMode::kNone) return;
    const auto* entry = ha->find("mode");
    if (entry != nullptr && entry->value.kind == Kind::kString && entry->value.text == "none")
        top.report().add(table.at, std::string(kNeeds) + "with \"none\" no node stands by for another");
}

void decode_port(const TableReader& reader, const Ha& ha, std::uint16_t& port) {
    const auto found = reader.integer("port", kPorts);
    if (found) port = static_cast<std::uint16_t>(found->value);
    if (port == ha.hello_port)
        reader.report().add(found ? found->at : reader.at(),
                            "'port' must not be 'hello_port' of [ha], which is " + std::to_string(port) + " too");
}

}  // namespace

void decode_sync(const TableReader& top, const Ha& ha, Sync& sync) {
    const auto* table = section(top, "sync");
    if (table == nullptr) return;
    check_mode(top, *table, ha.mode);
    const TableReader reader(top.report(), *table, "[sync]", kSyncKeys);
    sync.on = true;
    decode_path(reader, "key_file", sync.key_file);
    decode_port(reader, ha, sync.port);
    if (const auto interval = reader.duration("interval", Milliseconds{5}, seconds{1})) sync.interval = interval->value;
    if (const auto rate = reader.integer("rate_mbit", kRates)) sync.rate_mbit = static_cast<std::uint32_t>(rate->value);
    if (const auto wait = reader.duration("sync_wait", seconds{0}, minutes{10})) sync.wait = wait->value;
    if (const auto full = reader.duration("full_interval", seconds{10}, hours{24})) sync.full_interval = full->value;
}

}  // namespace fairlead::config
