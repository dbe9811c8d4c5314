// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/decision_writer.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "dataplane/tables/grace.h"

namespace fairlead {
namespace {

constexpr std::uint32_t kSlots = 64;

config::Pool pool(const std::string& name, int backends) {
    config::Pool pool;
    pool.name = name;
    pool.table = kSlots;
    pool.checks.emplace_back().port = 80;
    for (int i = 0; i < backends; ++i) {
        auto& backend = pool.backends.emplace_back();
        backend.name = "b" + std::to_string(i);
        backend.address = *IpAddress::parse("198.51.100." + std::to_string(i + 1));
    }
    return pool;
}

class DecisionWriterTest : public testing::Test {
  protected:
    DecisionWriterTest() { config_.pools = {pool("web", 3)}; }

    plan::Plan make_plan() const {
        plan::HealthView health;
        for (const auto& pool : config_.pools)
            for (const auto& backend : pool.backends)
                health[pool.name][backend.name] = {
                    down_.contains(backend.name) ? plan::Verdict::kDown : plan::Verdict::kUp, "refused",
                    dead_.contains(backend.name)};
        return plan::make_plan(config_, {"node", {}}, health, {});
    }

    Result<tables::ApplyReport> apply() { return decisions_.apply(make_plan()); }

    // Slots by owner's name; "" = nobody.
    std::map<std::string, int> owners(const std::string& pool) const {
        const auto snapshot =
            tables::TableWriter::create(tables_, *grace_);  // reads the tables as a new controller does
        const auto id = snapshot->find_pool(pool).value();
        std::map<std::string, int> result;
        for (const auto owner : slots(id)) {
            std::string name;
            for (const char* candidate : {"b0", "b1", "b2", "b3"})
                if (snapshot->find_backend(id, candidate) == owner) name = candidate;
            ++result[name];
        }
        return result;
    }

    // How many slots have this previous owner, another owner, and are looked up.
    int moving_from(const std::string& pool, const std::string& backend) const {
        const auto id = writer_->find_pool(pool).value();
        const auto index = writer_->find_backend(id, backend).value();
        int found = 0;
        for (const auto word : writer_->slots_of(id).words)
            found += FL_SLOT_PREVIOUS(word) == index && FL_SLOT_OWNER(word) != index && (word & FL_SLOT_LOOKUP);
        return found;
    }
    int in_transition(const std::string& pool) const {
        return static_cast<int>(transitions_.view(writer_->find_pool(pool).value()).in_transition);
    }

    std::vector<std::uint16_t> slots(std::uint32_t pool) const {
        const auto base = FL_SLOTS_BASE(tables_.pools()[pool].slots);
        std::vector<std::uint16_t> result;
        for (std::uint32_t slot = base; slot < base + writer_->slot_count(pool); ++slot)
            result.push_back(FL_SLOT_OWNER(tables_.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE]));
        return result;
    }

    // Gives every slot to backend 0 behind the writer's back: what is written again shows.
    void disturb(const std::string& pool) {
        const auto id = writer_->find_pool(pool).value();
        ASSERT_TRUE(writer_->set_slots(id, std::vector<std::uint16_t>(writer_->slot_count(id), 0)));
    }
    bool disturbed(const std::string& pool) const {
        const auto found = slots(writer_->find_pool(pool).value());
        return std::all_of(found.begin(), found.end(), [](auto owner) { return owner == 0; });
    }

    fl_backend_state state(const std::string& pool, const std::string& backend) const {
        const auto id = writer_->find_pool(pool).value();
        const auto index = writer_->global_index(id, writer_->find_backend(id, backend).value());
        return static_cast<fl_backend_state>(FL_BACKEND_STATE(tables_.backends()[index].state));
    }

    mutable tables::Tables tables_ = std::move(*tables::Tables::create_anonymous(
        tables::limits_for({.vips = 4, .services = 4, .pools = 3, .backends = 24, .slots = 4 * kSlots, .pins = 8}, 1)));
    std::unique_ptr<tables::GracePeriod> grace_ = tables::make_grace(tables_).value();
    std::optional<tables::TableWriter> writer_ = std::move(*tables::TableWriter::create(tables_, *grace_));
    Transitions transitions_{*writer_, tables::make_grace(tables_).value()};
    DecisionWriter decisions_{*writer_, transitions_, [](const plan::BackendDecision&) { return Path{0, 1400}; }};
    config::Config config_;
    std::set<std::string> down_, dead_;
};

TEST_F(DecisionWriterTest, GivesSlotsToThoseInUseAndWritesEveryState) {
    down_ = {"b1"};
    ASSERT_TRUE(apply());
    const auto found = owners("web");
    EXPECT_EQ(found.size(), 2U);
    EXPECT_EQ(found.at("b0"), 32);
    EXPECT_EQ(found.at("b2"), 32);
    EXPECT_EQ(state("web", "b0"), FL_BACKEND_HEALTHY);
    EXPECT_EQ(state("web", "b1"), FL_BACKEND_UNHEALTHY);
}

TEST_F(DecisionWriterTest, AVerdictMovesTheSlotsOfThatBackend) {
    ASSERT_TRUE(apply());
    EXPECT_EQ(owners("web").size(), 3U);
    down_ = {"b2"};
    decisions_.update(make_plan().decisions[0]);
    EXPECT_FALSE(owners("web").contains("b2"));
    EXPECT_EQ(state("web", "b2"), FL_BACKEND_UNHEALTHY);
    down_.clear();
    decisions_.update(make_plan().decisions[0]);
    EXPECT_TRUE(owners("web").contains("b2"));
}

TEST_F(DecisionWriterTest, ConnectionsOfABackendThatFailsStayWithItUntilItIsDead) {
    ASSERT_TRUE(apply());
    EXPECT_EQ(in_transition("web"), 0) << "the first owners have no connections";
    const int owned = owners("web").at("b2");
    down_ = {"b2"};
    decisions_.update(make_plan().decisions[0]);
    EXPECT_EQ(moving_from("web", "b2"), owned);
    EXPECT_GE(in_transition("web"), owned);
    dead_ = {"b2"};
    decisions_.update(make_plan().decisions[0]);
    EXPECT_EQ(state("web", "b2"), FL_BACKEND_DEAD);
    EXPECT_EQ(moving_from("web", "b2"), 0) << "the dead are forgotten at once";
    EXPECT_GE(in_transition("web"), owned) << "pins of others are not";
}

TEST_F(DecisionWriterTest, SaysHowManySlotsAPlanWouldMove) {
    ASSERT_TRUE(apply());
    EXPECT_EQ(decisions_.slots_moved(make_plan().decisions[0], kSlots), 0U);
    const int owned = owners("web").at("b1");
    down_ = {"b1"};
    const auto moved = decisions_.slots_moved(make_plan().decisions[0], kSlots);
    EXPECT_GE(moved, static_cast<std::uint32_t>(owned));
    EXPECT_LT(moved, static_cast<std::uint32_t>(owned + kSlots / 4));
    down_.clear();
    config_.pools[0].backends.push_back(pool("web", 4).backends[3]);
    const auto taken = decisions_.slots_moved(make_plan().decisions[0], kSlots);
    EXPECT_GE(taken, kSlots / 4) << "the share of one that is yet to come";
    EXPECT_LT(taken, kSlots / 2);
    EXPECT_EQ(in_transition("web"), 0) << "asking moves nothing";
}

TEST_F(DecisionWriterTest, NobodyOwnsTheSlotsOfAPoolThatIsDown) {
    ASSERT_TRUE(apply());
    down_ = {"b0", "b1", "b2"};
    decisions_.update(make_plan().decisions[0]);
    EXPECT_EQ(owners("web"), (std::map<std::string, int>{{"", kSlots}}));
}

TEST_F(DecisionWriterTest, SlotsAreWrittenAgainOnlyWhereSomethingChanged) {
    config_.pools.push_back(pool("mail", 3));
    ASSERT_TRUE(apply());
    disturb("web");
    disturb("mail");
    ASSERT_TRUE(apply());
    EXPECT_TRUE(disturbed("web"));
    config_.pools[0].backends[1].weight = 50;
    ASSERT_TRUE(apply());
    EXPECT_FALSE(disturbed("web")) << "a weight changed";
    EXPECT_TRUE(disturbed("mail"));
    down_ = {"b2"};
    ASSERT_TRUE(apply());
    EXPECT_FALSE(disturbed("mail")) << "a verdict changed";
}

TEST_F(DecisionWriterTest, AnotherSizeIsFilledAnew) {
    ASSERT_TRUE(apply());
    config_.pools[0].table = 2 * kSlots;
    ASSERT_TRUE(apply());
    EXPECT_EQ(owners("web").at("b0"), 43);  // 128 slots by three: within one of each other
    EXPECT_EQ(owners("web").size(), 3U);
}

TEST_F(DecisionWriterTest, ABackendWithAnotherAddressOwnsUnderItsNewIndex) {
    ASSERT_TRUE(apply());
    const auto id = writer_->find_pool("web").value();
    const auto before = writer_->find_backend(id, "b1");
    config_.pools[0].backends[1].address = *IpAddress::parse("198.51.100.99");
    ASSERT_TRUE(apply());
    ASSERT_NE(writer_->find_backend(id, "b1"), before);
    EXPECT_GE(owners("web").at("b1"), 21);
    EXPECT_FALSE(owners("web").contains(""));
}

TEST_F(DecisionWriterTest, APoolUnderAnIdThatAnotherHadIsFilled) {
    ASSERT_TRUE(apply());
    const auto id = writer_->find_pool("web").value();
    std::set<std::uint32_t> ids;
    for (const char* name : {"first", "second", "third", "fourth"}) {  // each takes the place of the one before
        config_.pools = {pool(name, 3)};
        config_.pools[0].backends.erase(config_.pools[0].backends.begin());  // the same shares but for who has index 0
        ASSERT_TRUE(apply());
        ids.insert(writer_->find_pool(name).value());
        EXPECT_EQ(owners(name), (std::map<std::string, int>{{"b1", 32}, {"b2", 32}}));
    }
    EXPECT_TRUE(ids.contains(id)) << "the test needs an id to come round again";
}

TEST_F(DecisionWriterTest, ARefusedPlanChangesNothingAndTheNextOneIsWrittenWhole) {
    ASSERT_TRUE(apply());
    const auto good = config_;
    config_.pools[0].table = 1024;  // more than there is
    ASSERT_FALSE(apply());
    EXPECT_EQ(owners("web").size(), 3U);
    disturb("web");
    config_ = good;
    ASSERT_TRUE(apply());
    EXPECT_FALSE(disturbed("web")) << "after a failure nothing is taken for granted";
}

}  // namespace
}  // namespace fairlead
