// SPDX-License-Identifier: Apache-2.0
// Each file of bad/ names its own faults: "# expect LINE:COLUMN FRAGMENT" lines, one a fault. The file must yield
// exactly these, each at exactly this position.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "ctl/config/config.h"

namespace fairlead::config {
namespace {

struct Expected {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::string fragment;

    bool matches(const Diagnostic& found) const {
        return found.line == line && found.column == column && found.message.find(fragment) != std::string::npos;
    }
};

std::vector<std::filesystem::path> bad_files() {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(FAIRLEAD_BAD_CONFIGS))
        if (entry.path().extension() == ".toml") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<Expected> expected_of(const std::filesystem::path& file) {
    std::vector<Expected> all;
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) {
        if (!line.starts_with("# expect ")) continue;
        Expected expected;
        char colon = 0;
        std::istringstream fields(line.substr(9));
        fields >> expected.line >> colon >> expected.column >> std::ws;
        std::getline(fields, expected.fragment);
        all.push_back(expected);
    }
    return all;
}

std::string list(const std::vector<Diagnostic>& diagnostics) {
    std::string text;
    for (const auto& diagnostic : diagnostics) text += "  " + diagnostic.to_string() + "\n";
    return text;
}

class BadConfig : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(BadConfig, YieldsExactlyTheFaultsItNames) {
    const auto expected = expected_of(GetParam());
    ASSERT_FALSE(expected.empty()) << "the file names no fault";
    const auto result = load_config(GetParam());
    EXPECT_FALSE(result.config);
    EXPECT_EQ(result.diagnostics.size(), expected.size()) << list(result.diagnostics);
    auto left = result.diagnostics;
    for (const auto& fault : expected) {
        EXPECT_FALSE(fault.fragment.empty());
        const auto found = std::find_if(left.begin(), left.end(), [&](const auto& d) { return fault.matches(d); });
        if (found == left.end())
            ADD_FAILURE() << "not reported: " << fault.line << ":" << fault.column << " " << fault.fragment << "\n"
                          << list(result.diagnostics);
        else
            left.erase(found);
    }
}

TEST_P(BadConfig, ReportsInOrderOfPositionWithTheFilesName) {
    const auto found = load_config(GetParam()).diagnostics;
    const auto before = [](const Diagnostic& a, const Diagnostic& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
    };
    EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), before)) << list(found);
    for (const auto& diagnostic : found) EXPECT_EQ(diagnostic.file, GetParam().string());
}

INSTANTIATE_TEST_SUITE_P(Files, BadConfig, testing::ValuesIn(bad_files()),
                         [](const auto& info) { return info.param.stem().string(); });

TEST(BadConfigs, AreAsManyAsTheyShouldBe) { EXPECT_GE(bad_files().size(), 60U); }

}  // namespace
}  // namespace fairlead::config
