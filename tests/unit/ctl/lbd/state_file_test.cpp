// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/state_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace fairlead {
namespace {

class StateFile : public testing::Test {
  protected:
    ~StateFile() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& text) {
        std::filesystem::create_directories(folder_);
        std::ofstream(file_) << text;
    }
    std::string fault_of(const std::string& text) {
        write(text);
        const auto loaded = load_state(file_);
        return loaded ? "" : loaded.error().message.substr(file_.string().size());
    }

    std::filesystem::path folder_ =
        std::filesystem::temp_directory_path() / ("fairlead-state-" + std::to_string(getpid()));
    std::filesystem::path file_ = folder_ / "default.json";
};

RunTimeState some_state() {
    RunTimeState state;
    state.overrides["web"]["a"] = {.drained = true, .weight = std::nullopt, .instead_of = 0};
    state.overrides["web"]["b"] = {.drained = false, .weight = 0, .instead_of = 100};
    state.tiers["db"] = 1;
    state.engine = SwitchedEngine{.dpdk = true, .instead_of = config::Engine::kXdp};
    return state;
}

config::Config some_config() {
    config::Config config;
    config.pools.resize(2);
    config.pools[0].name = "web";
    config.pools[0].backends.push_back({.name = "a", .address = {}});
    config.pools[0].backends.push_back({.name = "b", .address = {}});
    config.pools[1].name = "db";
    config.pools[1].failback = false;
    return config;
}

TEST_F(StateFile, ComesBackAsItWasSaved) {
    EXPECT_EQ(load_state(file_).value(), RunTimeState{}) << "none yet";
    ASSERT_TRUE(save_state(file_, some_state()));
    EXPECT_EQ(load_state(file_).value(), some_state());
    ASSERT_TRUE(save_state(file_, {}));
    EXPECT_EQ(load_state(file_).value(), RunTimeState{});
}

TEST_F(StateFile, WhatCannotBeReadIsAnErrorThatSaysWhere) {
    EXPECT_NE(fault_of("{\"version\": 1, \"pools\": {").find("line 1"), std::string::npos);
    EXPECT_EQ(fault_of("[]"), ": expected an object of version 1");
    EXPECT_EQ(fault_of("{\"version\": 2, \"pools\": {}}"), ": expected an object of version 1");
    EXPECT_EQ(fault_of("{\"version\": \"1\", \"pools\": {}}"), ": expected an object of version 1");
    EXPECT_EQ(fault_of("{\"version\": null, \"pools\": {}}"), ": expected an object of version 1");
    EXPECT_EQ(fault_of("{\"version\": 1}"), ": expected an object \"pools\"");
    EXPECT_EQ(fault_of("{\"version\": 1, \"pools\": {\"web\": {\"tier\": 256}}}"),
              ": pool web: \"tier\": not known, or not of the type and range that was expected");
    EXPECT_EQ(fault_of("{\"version\": 1, \"pools\": {\"web\": {\"backends\": {\"a\": {\"weight\": -1}}}}}"),
              ": pool web: backend a: \"weight\": not known, or not of the type and range that was expected");
    constexpr const char* kEngine =
        ": engine: expected \"switched_to\": \"dpdk\" or \"xdp\", and \"configured\": an engine";
    for (const char* engine :
         {"7", "{}", "{\"switched_to\": \"dpdk\"}", "{\"switched_to\": \"frob\", \"configured\": \"auto\"}",
          "{\"switched_to\": \"xdp\", \"configured\": \"frob\"}"})
        EXPECT_EQ(fault_of(std::string("{\"version\": 1, \"pools\": {}, \"engine\": ") + engine + "}"), kEngine);
}

TEST_F(StateFile, AFolderThatCannotBeMadeIsAnError) {
    write("");
    EXPECT_FALSE(save_state(file_ / "below" / "default.json", {}));
}

TEST(StaleState, GoesWithItsBackendAndGivesWayToTheConfig) {
    auto state = some_state();
    auto config = some_config();
    EXPECT_TRUE(drop_stale(state, config, config::Engine::kXdp).empty());
    EXPECT_EQ(state, some_state());

    config.pools[0].backends[1].weight = 80;
    config.pools[1].failback = true;
    EXPECT_EQ(
        drop_stale(state, config, config::Engine::kAuto),
        (std::vector<std::string>{"engine dpdk, set at run time, gives way to the config's new auto",
                                  "pool web: backend b: weight 0, set at run time, gives way to the config's new 80"}));
    EXPECT_FALSE(state.engine);
    EXPECT_FALSE(state.overrides["web"].contains("b"));
    EXPECT_TRUE(state.tiers.empty());

    config.pools[0].backends[0].leaving = true;
    EXPECT_EQ(drop_stale(state, config, config::Engine::kAuto),
              std::vector<std::string>{"pool web: backend a: gone, and with it what was set at run time"});
    EXPECT_TRUE(state.overrides.empty());
}

}  // namespace
}  // namespace fairlead
