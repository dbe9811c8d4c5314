// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/records.h"

#include <gtest/gtest.h>

#include "dataplane/core/layout.h"

namespace fairlead::sync {
namespace {

using Bytes = std::vector<std::uint8_t>;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

PoolRecord pool(const std::string& name = "megam") { return {7, 1024, FL_POOL_CLIENT_IP, -3, name}; }
BackendRecord backend(const std::string& name = "master") { return {7, 2, FL_FORWARD_IPIP, ip("192.0.2.11"), name}; }
ViewRecord view() { return {7, 2, 1, true, true, 50, 100, 1234}; }
Pin pin(std::uint32_t bucket, std::uint32_t pool = 7) { return {bucket, 0xfeedbeef, pool, 2, 0x3ff, 3}; }

struct Written {
    Bytes bytes = Bytes(1400);
    RecordWriter writer{bytes};
    Bytes used() const { return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(writer.size())}; }
};

std::optional<std::vector<Record>> read(const Bytes& bytes) {
    std::vector<Record> records;
    // As long as it is and no longer, so that the sanitizer sees who reads beyond.
    const Bytes exact(bytes);
    if (!read_records(exact, [&](const Record& record) { records.push_back(record); })) return std::nullopt;
    return records;
}

template <typename One>
Bytes bytes_of(const One& record) {
    Written written;
    EXPECT_TRUE(written.writer.add(record));
    return written.used();
}
Bytes bytes_of_pin(const Pin& one) {
    Written written;
    EXPECT_EQ(written.writer.add_pins({&one, 1}), 1U);
    return written.used();
}
Bytes bytes_of_slots(std::uint32_t first, std::vector<std::uint32_t> words) {
    Written written;
    EXPECT_EQ(written.writer.add_slots(7, first, words), words.size());
    return written.used();
}

bool readable_with(Bytes bytes, std::size_t at, std::uint8_t value) {
    bytes.at(at) = value;
    return read(bytes).has_value();
}

// --- what is written is read ---

TEST(SyncRecords, EveryKindComesBack) {
    Written written;
    auto& writer = written.writer;
    auto plain = pool();
    plain.tier.reset();
    const ViewRecord bare{7, 0x7ffe, 0, false, false, {}, 0, {}};
    const BackendRecord v6{0xffffffff, 0, FL_FORWARD_NAT, ip("2001:db8::1"), std::string(63, 'b')};
    const std::vector<std::uint32_t> words = {FL_SLOT_SETTLED(1), FL_SLOT_WORD(1, kNobody, 1, 1), 0xffffffff};
    const std::vector<Pin> pins = {pin(1), pin(0xffffffff), pin(3, 8), {4, 0, 8, 0x7ffe, 0, 2}};
    ASSERT_TRUE(writer.add(pool()) && writer.add(plain) && writer.add(backend()) && writer.add(v6));
    ASSERT_TRUE(writer.add(view()) && writer.add(bare));
    ASSERT_EQ(writer.add_slots(7, 1000, words), words.size());
    ASSERT_EQ(writer.add_pins(pins), pins.size());
    ASSERT_TRUE(writer.add(EndRecord{1ULL << 40, 3}));
    const std::vector<Record> expected = {pool(),
                                          plain,
                                          backend(),
                                          v6,
                                          view(),
                                          bare,
                                          SlotsRecord{7, 1000, words},
                                          PinsRecord{{pins[0], pins[1]}},
                                          PinsRecord{{pins[2], pins[3]}},
                                          EndRecord{1ULL << 40, 3}};
    EXPECT_EQ(read(written.used()), expected);
}

TEST(SyncRecords, BytesAreAsDocumented) {
    EXPECT_EQ(bytes_of(pool("ab")),
              (Bytes{1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 4, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfd, 1, 2, 'a', 'b'}));
    EXPECT_EQ(bytes_of(view()),
              (Bytes{3, 0, 0, 20, 0, 0, 0, 7, 0, 2, 1, 15, 0, 0, 0, 50, 0, 0, 0, 100, 0, 0, 4, 0xd2}));
    EXPECT_EQ(bytes_of_slots(1, {2}), (Bytes{4, 0, 0, 12, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2}));
    EXPECT_EQ(bytes_of_pin(pin(1)),
              (Bytes{5, 0, 0, 16, 0, 0, 0, 7, 0, 0, 0, 1, 0xfe, 0xed, 0xbe, 0xef, 0, 2, 0x0f, 0xff}));
}

TEST(SyncRecords, NothingIsWrittenOfWhatDoesNotFit) {
    for (const auto& whole : {bytes_of(pool()), bytes_of(backend()), bytes_of(view()), bytes_of(EndRecord{})}) {
        for (std::size_t room = 0; room < whole.size(); ++room) {
            Bytes bytes(room, 0xaa);
            RecordWriter writer(bytes);
            const bool added = whole[0] == 1   ? writer.add(pool())
                               : whole[0] == 2 ? writer.add(backend())
                               : whole[0] == 3 ? writer.add(view())
                                               : writer.add(EndRecord{});
            EXPECT_FALSE(added);
            EXPECT_EQ(writer.size(), 0U);
            EXPECT_EQ(bytes, Bytes(room, 0xaa));
        }
    }
}

TEST(SyncRecords, AsManySlotsAndPinsAsFit) {
    const std::vector<std::uint32_t> words(100, FL_SLOT_SETTLED(1));
    std::vector<Pin> pins(100, pin(1));
    for (std::size_t i = 0; i < pins.size(); ++i) pins[i].pool = i < 3 ? 1 : 2;
    for (std::size_t room = 0; room < 600; ++room) {
        Bytes for_slots(room), for_pins(room);
        RecordWriter slots(for_slots), some(for_pins);
        const auto slots_fit = room < 16 ? 0 : std::min<std::size_t>((room - 12) / 4, 100);
        EXPECT_EQ(slots.add_slots(1, 0, words), slots_fit);
        EXPECT_EQ(slots.size(), slots_fit == 0 ? 0 : 12 + 4 * slots_fit);
        const auto pins_fit = room < 20   ? 0
                              : room < 64 ? std::min<std::size_t>((room - 8) / 12, 3)
                                          : 3 + (room - 52) / 12;
        EXPECT_EQ(some.add_pins(pins), pins_fit) << room;
        for_pins.resize(some.size());
        std::size_t seen = 0;
        ASSERT_TRUE(read_records(for_pins, [&](const Record& r) { seen += std::get<PinsRecord>(r).pins.size(); }));
        EXPECT_EQ(seen, pins_fit);
    }
}

TEST(SyncRecords, AnyRecordFitsInTheLeastRoom) {
    Bytes room(kRecordRoom);
    const std::string longest(kNameBytes, 'n');
    const auto one = pin(1);
    const std::uint32_t word = 1;
    EXPECT_TRUE(RecordWriter(room).add(pool(longest)));
    EXPECT_TRUE(RecordWriter(room).add(backend(longest)));
    EXPECT_TRUE(RecordWriter(room).add(view()));
    EXPECT_TRUE(RecordWriter(room).add(EndRecord{}));
    EXPECT_EQ(RecordWriter(room).add_pins({&one, 1}), 1U);
    EXPECT_EQ(RecordWriter(room).add_slots(1, 0, {&word, 1}), 1U);
}

// --- what is malformed ---

TEST(SyncRecords, NothingIsEmptyAndWell) { EXPECT_EQ(read({}), std::vector<Record>{}); }

TEST(SyncRecords, EveryTruncationIsRefused) {
    for (const auto& whole : {bytes_of(pool()), bytes_of(backend()), bytes_of(view()), bytes_of_slots(0, {1}),
                              bytes_of_pin(pin(1)), bytes_of(EndRecord{})}) {
        EXPECT_TRUE(read(whole).has_value());
        for (std::size_t size = 1; size < whole.size(); ++size) {
            auto cut = whole;
            cut.resize(size);
            EXPECT_FALSE(read(cut).has_value()) << int{whole[0]} << " " << size;
            if (size < 4) continue;
            // And where its length says so.
            cut[2] = 0;
            cut[3] = static_cast<std::uint8_t>(size - 4);
            EXPECT_FALSE(read(cut).has_value()) << int{whole[0]} << " " << size;
        }
        auto longer = whole;
        longer.push_back('x');
        EXPECT_FALSE(read(longer).has_value());
        ++longer[3];
        EXPECT_FALSE(read(longer).has_value()) << int{whole[0]};
        EXPECT_FALSE(readable_with(whole, 1, 1)) << "the reserved byte";
    }
}

TEST(SyncRecords, WhatIsBeforeTheMalformedIsReadAndNothingAfter) {
    auto bytes = bytes_of(view());
    const auto bad = bytes_of(backend(""));
    const auto good = bytes_of(EndRecord{1, 2});
    bytes.insert(bytes.end(), bad.begin(), bad.end());
    bytes.insert(bytes.end(), good.begin(), good.end());
    std::vector<Record> seen;
    EXPECT_FALSE(read_records(bytes, [&](const Record& record) { seen.push_back(record); }));
    EXPECT_EQ(seen, std::vector<Record>{view()});
}

TEST(SyncRecords, UnknownTypesAreSkipped) {
    for (const int type : {0, 7, 8, 255}) {
        Bytes bytes = {static_cast<std::uint8_t>(type), 9, 0, 3, 1, 2, 3};
        const auto known = bytes_of(view());
        bytes.insert(bytes.end(), known.begin(), known.end());
        EXPECT_EQ(read(bytes), std::vector<Record>{view()});
        bytes[3] = 200;
        EXPECT_FALSE(read(bytes).has_value()) << "but not beyond the end";
    }
}

TEST(SyncRecords, NamesAreChecked) {
    for (const auto& name : {std::string(), std::string(64, 'n'), std::string("a\nb"), std::string("a\x1b[2J"),
                             std::string("\0", 1), std::string("\x7f"), std::string("\xc3\xa4")}) {
        EXPECT_FALSE(is_shown_name(name));
        EXPECT_FALSE(read(bytes_of(pool(name))).has_value()) << name;
        EXPECT_FALSE(read(bytes_of(backend(name))).has_value()) << name;
    }
    EXPECT_TRUE(read(bytes_of(pool(std::string(63, 'n')))).has_value());
    EXPECT_TRUE(read(bytes_of(backend("2001:db8::1"))).has_value());
}

TEST(SyncRecords, PoolFieldsAreChecked) {
    auto record = pool();
    for (const std::uint32_t slots : {0U, 3U, 1023U, 1U << 25, 0xffffffffU}) {
        record.slots = slots;
        EXPECT_FALSE(read(bytes_of(record)).has_value()) << slots;
    }
    for (const std::uint32_t slots : {1U, 16U, 1U << 24}) {
        record.slots = slots;
        EXPECT_TRUE(read(bytes_of(record)).has_value()) << slots;
    }
    EXPECT_FALSE(readable_with(bytes_of(pool()), 20, 2)) << "flags";
    EXPECT_FALSE(readable_with(bytes_of(pool()), 20, 0)) << "a tier that there is not";
}

TEST(SyncRecords, BackendAndViewFieldsAreChecked) {
    auto record = backend();
    record.index = kNobody;
    EXPECT_FALSE(read(bytes_of(record)).has_value());
    record = backend();
    record.forward = FL_FORWARD_NAT + 1;
    EXPECT_FALSE(read(bytes_of(record)).has_value());
    auto seen = view();
    seen.index = 0xffff;
    EXPECT_FALSE(read(bytes_of(seen)).has_value());
    seen = view();
    seen.verdict = 3;
    EXPECT_FALSE(read(bytes_of(seen)).has_value());
    const auto good = bytes_of(view());
    EXPECT_FALSE(readable_with(good, 11, 31)) << "flags";
    EXPECT_FALSE(readable_with(good, 11, 11)) << "a weight that there is not";
    EXPECT_FALSE(readable_with(good, 11, 7)) << "a time that there is not";
    EXPECT_TRUE(readable_with(good, 11, 12)) << "neither dead nor drained";
}

TEST(SyncRecords, SlotsAndPinsAreChecked) {
    EXPECT_TRUE(read(bytes_of_slots((1U << 24) - 1, {1})).has_value());
    EXPECT_FALSE(read(bytes_of_slots((1U << 24) - 1, {1, 2})).has_value());
    EXPECT_FALSE(read(bytes_of_slots(0xffffffff, {1})).has_value());
    EXPECT_FALSE(read(Bytes{4, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0}).has_value()) << "no word";
    EXPECT_FALSE(read(Bytes{5, 0, 0, 4, 0, 0, 0, 7}).has_value()) << "no pin";
    auto one = pin(1);
    one.backend = kNobody;
    EXPECT_FALSE(read(bytes_of_pin(one)).has_value());
    for (const std::uint8_t state : {0, 1}) {
        one = pin(1);
        one.state = state;
        EXPECT_FALSE(read(bytes_of_pin(one)).has_value()) << int{state};
    }
    EXPECT_FALSE(readable_with(bytes_of_pin(pin(1)), 18, 0x1f)) << "reserved bits";
}

}  // namespace
}  // namespace fairlead::sync
