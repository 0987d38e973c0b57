// RecordIO: fed whole or in pieces, the same records come out; what comes out encodes to what was
// read.
#include <algorithm>
#include <string>
#include <vector>

#include "api/wire/recordio.h"

namespace {
using gantry::wire::RecordDecoder;
struct Outcome {
  std::vector<std::string> records;
  bool broken = false;
  bool operator==(const Outcome&) const = default;
};
Outcome decode(std::string_view bytes, size_t step) {
  RecordDecoder decoder(1000);
  Outcome out;
  for (size_t at = 0; at < bytes.size() && !out.broken; at += step) {
    decoder.feed(bytes.substr(at, step));
    while (true) {
      std::string record;
      auto got = decoder.next(record);
      out.broken = !got;
      if (!got || *got == RecordDecoder::Got::need_more) break;
      out.records.push_back(std::move(record));
    }
  }
  return out;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = decode(bytes, std::max<size_t>(size, 1));
  for (size_t step : {1, 2, 7}) GANTRY_CHECK(decode(bytes, step) == whole);
  std::string again;
  for (const auto& record : whole.records) gantry::wire::append_record(record, again);
  GANTRY_CHECK(decode(again, 5).records == whole.records);
  return 0;
}
