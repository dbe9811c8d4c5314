// SPDX-License-Identifier: Apache-2.0
#include "tests/differential/campaign.h"

#include <algorithm>
#include <cstddef>
#include <random>

#include "tests/bpf/frames.h"
#include "tests/differential/corpus.h"

namespace fairlead::test {
namespace {

constexpr std::uint64_t kCountersEvery = 1024;    // frames
constexpr std::uint64_t kFramesOfAFault = 2'000;  // in which a planted one must show
constexpr std::uint64_t kCramped = 16;            // of so many worlds one leaves no room in front of frames

// Frames of one world, in the order of arrival.
class Source {
  public:
    explicit Source(std::uint64_t seed) : random_(seed), maker_(seed), corpus_(corpus()) {}

    std::vector<Frame> burst(std::uint64_t most) {
        std::vector<Frame> frames(1 + random_() % std::min<std::uint64_t>(most, SteerEngine::kMostAtOnce));
        for (Frame& frame : frames) frame = next();
        return frames;
    }

  private:
    Frame next() {
        // A train: one flow's packets one behind the other, of which an engine may look at the first alone.
        if (!last_.empty() && random_() % 4 == 0) return random_() % 4 ? last_ : last_ = turned(last_);
        return last_ = alone();
    }

    // The same flow at another point of its life.
    Frame turned(Frame frame) {
        constexpr std::uint8_t kFlags[] = {FL_TCP_ACK, FL_TCP_SYN, FL_TCP_ACK | FL_TCP_FIN, FL_TCP_RST};
        const std::size_t l4 =
            sizeof(fl_eth) + (frame.size() > 12 && frame[12] == 0x86 ? sizeof(fl_ipv6) : sizeof(fl_ipv4));
        const std::size_t at = l4 + offsetof(fl_tcp, flags);
        if (at < frame.size()) frame[at] = kFlags[random_() % std::size(kFlags)];
        return frame;
    }

    Frame alone() {
        switch (random_() % 8) {
            case 0:  // in order, so that what belongs together comes together
                return corpus_[next_++ % corpus_.size()];
            case 1:
                return mutated(corpus_[random_() % corpus_.size()], random_);
            default:
                return maker_.next();
        }
    }

    std::mt19937_64 random_;
    FrameMaker maker_;
    std::vector<Frame> corpus_;
    std::size_t next_ = 0;
    Frame last_;
};

}  // namespace

Campaign::Campaign() {
    engines_.push_back(make_memory_engine());
    engines_.push_back(make_kernel_engine());
    engines_.push_back(make_dpdk_engine());
}

Campaign::~Campaign() = default;

std::string Campaign::run_world(std::uint64_t seed, std::uint64_t frames, const PlantedFault* fault) {
    std::vector<SteerEngine*> engines;
    for (auto& engine : engines_) {
        engine->set_cramped(seed % kCramped == 0 && !fault);
        engines.push_back(engine.get());
    }
    const auto fill = [&](tables::TableWriter& writer) { fault ? fill_tables(writer) : fill_random(writer, seed); };
    Comparison comparison(engines, small_limits(), fill, false, tally_);
    if (fault) comparison.plant(*fault);
    Source source(seed);
    for (std::uint64_t done = 0, looked = 0; done < frames;) {
        const auto burst = source.burst(frames - done);
        if (auto difference = comparison.run(burst); !difference.empty())
            return "after " + std::to_string(done) + " frames " + difference;
        done += burst.size();
        if (done - looked < kCountersEvery && done < frames) continue;
        looked = done;
        if (auto difference = comparison.compare_counters(); !difference.empty())
            return "after " + std::to_string(done) + " frames " + difference;
    }
    return "";
}

std::string Campaign::run(const CampaignOptions& options) {
    std::uint64_t seed = options.seed;
    for (std::uint64_t done = 0; done < options.frames; ++seed) {
        const std::uint64_t frames = std::min(options.frames_per_world, options.frames - done);
        if (auto difference = run_world(seed, frames, nullptr); !difference.empty())
            return difference + "\nFAIRLEAD_SEED=" + std::to_string(seed) + " replays it";
        done += frames;
    }
    return "";
}

std::string Campaign::find_planted_faults(std::uint64_t seed) {
    const Tally before = tally_;
    std::string missed;
    for (const auto where : {PlantedFault::Where::kFrame, PlantedFault::Where::kTables})
        for (std::size_t side = 0; side < engines_.size(); ++side) {
            const PlantedFault fault{where, side};
            if (run_world(seed, kFramesOfAFault, &fault).empty())
                missed += std::string(" ") + engines_[side]->name() +
                          (where == PlantedFault::Where::kFrame ? " (frame)" : " (tables)");
        }
    tally_ = before;
    return missed;
}

}  // namespace fairlead::test
