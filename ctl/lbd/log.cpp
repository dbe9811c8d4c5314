// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/dup_filter_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdlib>
#include <memory>

namespace fairlead {
namespace {
// sd-daemon(3): "<N>" at the start of a line is its syslog level.
class JournalLevel : public spdlog::custom_flag_formatter {
  public:
    void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
        const char level = message.level >= spdlog::level::critical ? '2'
                           : message.level == spdlog::level::err    ? '3'
                           : message.level == spdlog::level::warn   ? '4'
                           : message.level == spdlog::level::info   ? '6'
                                                                    : '7';
        out.push_back('<');
        out.push_back(level);
        out.push_back('>');
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalLevel>(); }
};
}  // namespace

void start_log() {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    if (std::getenv("JOURNAL_STREAM"))
        formatter->add_flag<JournalLevel>('*').set_pattern("%*%v");
    else
        formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
    auto filter = std::make_shared<spdlog::sinks::dup_filter_sink_mt>(std::chrono::seconds(5));
    filter->add_sink(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    auto logger = std::make_shared<spdlog::logger>("lbd", filter);
    logger->set_formatter(std::move(formatter));
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(logger);
}

void set_log_level(config::LogLevel level) {
    switch (level) {
        case config::LogLevel::kDebug:
            return spdlog::set_level(spdlog::level::debug);
        case config::LogLevel::kInfo:
            return spdlog::set_level(spdlog::level::info);
        case config::LogLevel::kWarning:
            return spdlog::set_level(spdlog::level::warn);
        case config::LogLevel::kError:
            return spdlog::set_level(spdlog::level::err);
    }
}

}  // namespace fairlead
