// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/metrics.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "dataplane/tables/desired.h"

namespace fairlead::api {
namespace {

MetricsInput sample_input() {
    MetricsInput input;
    input.services = {{"sunstone", "192.0.2.10", "9869", "tcp", {7, 700, 3}},
                      {"resolver", "2001:db8::10", "any", "udp", {1, 80, 0}}};
    input.backends = {{"megam", "master", "192.0.2.11", 0, {5, 500, 2}, true, 100, true},
                      {"megam", "slave", "192.0.2.12", 1, {0, 0, 0}, false, 50, false}};
    input.checks = {{"megam", "master", "http 192.0.2.11:9869/", 0.00125, 4},
                    {"megam", "slave", "http 192.0.2.12:9869/", std::nullopt, 0}};
    input.tables = {{"services", 2, 4096}};
    input.engines = {{"eth0", "xdp-native"}};
    input.reasons.resize(FL_REASON_COUNT);
    input.reasons[FL_REASON_NOT_VIP] = 10;
    input.reasons[FL_REASON_LOCAL_VIP] = 20;
    input.reasons[FL_REASON_DECAPSULATED] = 30;
    input.reasons[FL_REASON_ARP] = 4;
    input.reasons[FL_REASON_RESET] = 5;
    input.reasons[FL_REASON_ALL_DOWN] = 6;
    input.version = "0.1.0";
    input.abi = "1";
    return input;
}

bool has_line(const std::string& text, const std::string& line) {
    return text.find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, SaysEachValueUnderItsLabels) {
    const std::string text = render_metrics(sample_input());
    for (const char* line : {
             R"(fairlead_service_packets_total{service="sunstone",vip="192.0.2.10",port="9869",protocol="tcp"} 7)",
             R"(fairlead_service_bytes_total{service="sunstone",vip="192.0.2.10",port="9869",protocol="tcp"} 700)",
             R"(fairlead_service_syns_total{service="sunstone",vip="192.0.2.10",port="9869",protocol="tcp"} 3)",
             R"(fairlead_service_bytes_total{service="resolver",vip="2001:db8::10",port="any",protocol="udp"} 80)",
             R"(fairlead_backend_packets_total{pool="megam",backend="master",address="192.0.2.11",tier="0"} 5)",
             R"(fairlead_backend_bytes_total{pool="megam",backend="master",address="192.0.2.11",tier="0"} 500)",
             R"(fairlead_backend_syns_total{pool="megam",backend="master",address="192.0.2.11",tier="0"} 2)",
             R"(fairlead_backend_up{pool="megam",backend="master",address="192.0.2.11",tier="0"} 1)",
             R"(fairlead_backend_up{pool="megam",backend="slave",address="192.0.2.12",tier="1"} 0)",
             R"(fairlead_backend_weight{pool="megam",backend="slave",address="192.0.2.12",tier="1"} 50)",
             R"(fairlead_backend_eligible{pool="megam",backend="master",address="192.0.2.11",tier="0"} 1)",
             R"(fairlead_backend_eligible{pool="megam",backend="slave",address="192.0.2.12",tier="1"} 0)",
             R"(fairlead_check_failures_total{pool="megam",backend="master",check="http 192.0.2.11:9869/"} 4)",
             R"(fairlead_passed_packets_total 60)",
             R"(fairlead_answered_packets_total{kind="arp"} 4)",
             R"(fairlead_answered_packets_total{kind="reset"} 5)",
             R"(fairlead_answered_packets_total{kind="echo"} 0)",
             R"(fairlead_drops_total{reason="all_down"} 6)",
             R"(fairlead_drops_total{reason="internal"} 0)",
             R"(fairlead_table_used{table="services"} 2)",
             R"(fairlead_table_size{table="services"} 4096)",
             R"(fairlead_engine_info{interface="eth0",engine="xdp-native"} 1)",
             R"(fairlead_build_info{version="0.1.0",abi="1"} 1)",
             R"(# TYPE fairlead_drops_total counter)",
             R"(# TYPE fairlead_backend_up gauge)",
         }) {
        EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
    }
}

TEST(Metrics, LeavesOutAProbeThatHasNotBeen) {
    const std::string text = render_metrics(sample_input());
    const std::string family = "fairlead_check_duration_seconds{pool=\"megam\",backend=\"";
    EXPECT_NE(text.find(family + "master"), std::string::npos);
    EXPECT_EQ(text.find(family + "slave"), std::string::npos);
}

// Each reason is in exactly one family: a new class or a slip of the list shows here.
TEST(Metrics, CountsEachReasonOnce) {
    MetricsInput input;
    input.reasons.assign(FL_REASON_COUNT, 1);
    const std::string text = render_metrics(input);
    std::size_t samples = 0;
    for (std::size_t at = 0; (at = text.find("\"} 1\n", at)) != std::string::npos; ++at) {
        ++samples;
    }
    const std::size_t passed_reasons = 5;
    EXPECT_TRUE(has_line(text, "fairlead_passed_packets_total 5"));
    EXPECT_TRUE(has_line(text, "fairlead_exception_packets_total 1"));
    const std::size_t exceptions = 1;  // a sample without labels, as those that are passed
    EXPECT_EQ(samples, FL_REASON_COUNT - passed_reasons - exceptions + 1) << "and build_info";
}

TEST(Metrics, AnnouncedRoutesAreThereOnlyWhereTheyAreKept) {
    MetricsInput input;
    EXPECT_EQ(render_metrics(input).find("fairlead_announced_routes"), std::string::npos);
    input.announced_routes = 0;
    EXPECT_TRUE(has_line(render_metrics(input), "fairlead_announced_routes 0"));
    input.announced_routes = 12;
    EXPECT_TRUE(has_line(render_metrics(input), "fairlead_announced_routes 12"));
}

TEST(Metrics, HaIsThereOnlyWithHa) {
    MetricsInput input;
    EXPECT_EQ(render_metrics(input).find("fairlead_ha_"), std::string::npos);
    input.ha = {{"default", true, 3, 100, 50, 1, true, {{"ttl", 0}, {"vrid", 9}}},
                {"second", false, 1, 0, 70, 0, false, {{"ttl", 1}, {"vrid", 0}}}};
    const auto text = render_metrics(input);
    for (const char* line :
         {R"(fairlead_ha_role{group="default"} 1)", R"(fairlead_ha_role{group="second"} 0)",
          R"(fairlead_ha_transitions_total{group="default"} 3)",
          R"(fairlead_ha_adverts_sent_total{group="default"} 100)",
          R"(fairlead_ha_adverts_received_total{group="second"} 70)",
          R"(fairlead_ha_adverts_rejected_total{group="second",reason="ttl"} 1)",
          R"(fairlead_ha_adverts_rejected_total{group="default",reason="vrid"} 9)",
          R"(fairlead_ha_split_brain_total{group="default"} 1)", R"(fairlead_ha_peer_differs{group="default"} 1)"})
        EXPECT_TRUE(has_line(text, line)) << line;
}

TEST(Metrics, HellosAreThereOnlyWithHa) {
    MetricsInput input;
    input.hello = HelloMetrics{2, true, 30, 20, {{"ttl", 0}, {"length", 4}}};
    const auto text = render_metrics(input);
    for (const char* line :
         {"fairlead_ha_config_differs 1", "fairlead_ha_nodes_heard 2", "fairlead_ha_hellos_sent_total 30",
          "fairlead_ha_hellos_received_total 20", R"(fairlead_ha_hellos_rejected_total{reason="ttl"} 0)",
          R"(fairlead_ha_hellos_rejected_total{reason="length"} 4)"})
        EXPECT_TRUE(has_line(text, line)) << line;
}

MetricsInput sync_input() {
    sync::PeerStatus standby;
    standby.address = "192.0.2.3";
    standby.session.name = "lb-b";
    standby.session.heard = true;
    standby.session.sent = 700;
    standby.session.received = 600;
    standby.session.refused[static_cast<std::size_t>(sync::SyncRefusal::kMac)] = 5;
    standby.lag = std::chrono::milliseconds(250);
    standby.slots_sent = 1024;
    standby.pins_sent = 300;
    standby.last_full = std::chrono::system_clock::time_point{};
    standby.last_full_took = std::chrono::milliseconds(1500);
    sync::PeerStatus stranger;
    stranger.address = "192.0.2.4";
    stranger.session.sent = 3;
    stranger.session.common_differs = true;
    stranger.pins_applied = 4;
    sync::Status status;
    status.on = true;
    status.peers = {standby, stranger};
    status.refused[static_cast<std::size_t>(sync::SyncRefusal::kMac)] = 2;
    MetricsInput input;
    input.sync = status;
    return input;
}

TEST(Metrics, SyncIsThereOnlyWithSync) {
    MetricsInput input = sync_input();
    const auto text = render_metrics(input);
    for (const char* line :
         {R"(fairlead_sync_heard{peer="lb-b"} 1)", R"(fairlead_sync_heard{peer="192.0.2.4"} 0)",
          R"(fairlead_sync_common_differs{peer="192.0.2.4"} 1)", R"(fairlead_sync_lag_seconds{peer="lb-b"} 0.25)",
          R"(fairlead_sync_full_seconds{peer="lb-b"} 1.5)", R"(fairlead_sync_messages_total{direction="sent"} 703)",
          R"(fairlead_sync_messages_total{direction="received"} 600)",
          R"(fairlead_sync_slots_total{direction="sent"} 1024)", R"(fairlead_sync_pins_total{direction="sent"} 300)",
          R"(fairlead_sync_pins_total{direction="received"} 4)", R"(fairlead_sync_rejected_total{reason="mac"} 7)"})
        EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
    for (const auto& [reason, help] : sync::kSyncRefusalTexts)
        EXPECT_NE(text.find("fairlead_sync_rejected_total{reason=\"" + std::string(reason) + "\"}"), std::string::npos)
            << reason;
    EXPECT_EQ(text.find(R"(fairlead_sync_lag_seconds{peer="192.0.2.4"})"), std::string::npos) << "not known";
    input.sync->on = false;
    EXPECT_EQ(render_metrics(input).find("fairlead_sync_"), std::string::npos);
    EXPECT_EQ(render_metrics({}).find("fairlead_sync_"), std::string::npos);
}

TEST(Metrics, IsWholeWithNothingConfigured) {
    const std::string text = render_metrics({});
    EXPECT_EQ(text.find("fairlead_service"), std::string::npos);
    EXPECT_TRUE(has_line(text, "fairlead_passed_packets_total 0"));
    EXPECT_TRUE(has_line(text, R"(fairlead_drops_total{reason="malformed"} 0)"));
}

TEST(Metrics, KeepsLargeCountersExact) {
    MetricsInput input;
    input.services = {{"s", "192.0.2.10", "80", "tcp", {1, (std::uint64_t{1} << 53) - 1, 0}}};
    const std::string text = render_metrics(input);
    const std::string name =
        "fairlead_service_bytes_total{service=\"s\",vip=\"192.0.2.10\",port=\"80\",protocol=\"tcp\"} ";
    const std::size_t at = text.find(name);
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(std::strtod(text.c_str() + at + name.size(), nullptr), 9007199254740991.0);
}

TEST(Metrics, EscapesLabels) {
    MetricsInput input;
    input.engines = {{"a\"b\\c\nd", "none"}};
    EXPECT_TRUE(has_line(render_metrics(input), R"(fairlead_engine_info{interface="a\"b\\c\nd",engine="none"} 1)"));
}

TEST(Metrics, PromtoolAcceptsThem) {
    if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
        GTEST_SKIP() << "promtool (Debian: prometheus) is not installed";
    }
    for (const MetricsInput& input : {sample_input(), sync_input(), MetricsInput{}}) {
        FILE* promtool = popen("promtool check metrics 2>&1", "w");
        ASSERT_NE(promtool, nullptr);
        const std::string text = render_metrics(input);
        EXPECT_EQ(std::fwrite(text.data(), 1, text.size(), promtool), text.size());
        const int status = pclose(promtool);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << text;
    }
}

}  // namespace
}  // namespace fairlead::api
