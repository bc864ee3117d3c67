#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>
#include "core/check.h"
#include "core/convert.h"
#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

using Json = nlohmann::json;

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;
constexpr std::uint64_t kMostExtent = std::uint64_t{1} << 48;
constexpr std::size_t kMostRank = TensorView::kMaxRank;

struct DTypeName {
  const char* name;
  DType dtype;
};
constexpr std::array<DTypeName, 7> kDTypeNames = {{{"F64", DType::kF64},
                                                   {"F32", DType::kF32},
                                                   {"BF16", DType::kBF16},
                                                   {"F16", DType::kF16},
                                                   {"I64", DType::kI64},
                                                   {"I32", DType::kI32},
                                                   {"U8", DType::kU8}}};

const char* format_name(DType dtype) {
  for (const DTypeName& entry : kDTypeNames) {
    if (entry.dtype == dtype) return entry.name;
  }
  TNL_CHECK(false);
}

bool read_unsigned(const Json& value, std::uint64_t& out) {
  if (!value.is_number_unsigned()) return false;
  out = value.get<std::uint64_t>();
  return true;
}

// Parses one header entry; `data` is the byte area behind the header.
Status parse_entry(const std::string& file, const std::string& name, const Json& json,
                   std::span<const std::byte> data, SafetensorsEntry& entry, std::uint64_t& begin,
                   std::uint64_t& end) {
  const auto wrong = [&](std::string_view what) {
    return invalid_argument(fmt::format("{}: tensor '{}': {}", file, printable(name), what));
  };
  if (!json.is_object() || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    return wrong("expected dtype, shape and data_offsets");
  }
  const std::string dtype = json["dtype"].is_string() ? json["dtype"].get<std::string>() : "";
  const auto known =
      std::find_if(kDTypeNames.begin(), kDTypeNames.end(),
                   [&](const DTypeName& candidate) { return candidate.name == dtype; });
  if (known == kDTypeNames.end()) {
    return wrong(fmt::format("found dtype '{}', expected F64, F32, BF16, F16, I64, I32 or U8",
                             printable(dtype)));
  }
  entry.name = name;
  entry.dtype = known->dtype;
  if (!json["shape"].is_array() || json["shape"].size() > kMostRank) {
    return wrong(fmt::format("expected a shape of at most {} extents", kMostRank));
  }
  std::uint64_t elements = 1;
  for (const Json& extent : json["shape"]) {
    std::uint64_t value = 0;
    if (!read_unsigned(extent, value) || value > kMostExtent ||
        __builtin_mul_overflow(elements, value, &elements)) {
      return wrong(
          fmt::format("found the extent {}, expected one that fits the file", shown(extent)));
    }
    entry.shape.push_back(static_cast<std::int64_t>(value));
  }
  const Json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !read_unsigned(offsets[0], begin) ||
      !read_unsigned(offsets[1], end) || begin > end || end > data.size()) {
    return wrong(fmt::format("expected data_offsets within the {} bytes of data", data.size()));
  }
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(dtype_size(entry.dtype)),
                             &bytes) ||
      bytes != end - begin) {
    return wrong(
        fmt::format("found {} bytes, expected {} elements of {}", end - begin, elements, dtype));
  }
  entry.elements = static_cast<std::int64_t>(elements);
  entry.data = data.data() + begin;
  return {};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  const std::string file = path.string();
  SafetensorsFile result;
  TNL_ASSIGN(result.file_, MappedFile::open(path));
  const std::span<const std::byte> bytes = result.file_.bytes();
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return invalid_argument(
        fmt::format("{}: found {} bytes, expected a safetensors file", file, bytes.size()));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMostHeaderBytes || header_bytes > bytes.size() - sizeof(header_bytes)) {
    return invalid_argument(fmt::format(
        "{}: found a header of {} bytes in a file of {}, expected a whole safetensors file", file,
        header_bytes, bytes.size()));
  }
  const std::string_view header = result.file_.text().substr(sizeof(header_bytes), header_bytes);
  const Json json = parse_json(header);
  if (json.is_discarded() || !json.is_object()) {
    return invalid_argument(fmt::format("{}: the safetensors header is not a JSON object", file));
  }
  const std::span<const std::byte> data = bytes.subspan(sizeof(header_bytes) + header_bytes);

  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) {
        return invalid_argument(
            fmt::format("{}: __metadata__: expected an object of strings", file));
      }
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) result.metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    SafetensorsEntry entry;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    TNL_TRY(parse_entry(file, name, value, data, entry, begin, end));
    if (begin != end) ranges.emplace_back(begin, end);
    result.entries_.push_back(std::move(entry));
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) {
      return invalid_argument(
          fmt::format("{}: tensor data {} at byte {}, expected one tensor behind the other", file,
                      begin < covered ? "overlaps" : "has a gap", covered));
    }
    covered = end;
  }
  if (covered != data.size()) {
    return invalid_argument(fmt::format("{}: found {} bytes of data, expected {} from the header",
                                        file, data.size(), covered));
  }
  std::sort(result.entries_.begin(), result.entries_.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.data < b.data; });
  return result;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  for (const SafetensorsEntry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

Status write_safetensors(const std::filesystem::path& path,
                         const std::vector<SafetensorsWrite>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t offset = 0;
  for (const SafetensorsWrite& tensor : tensors) {
    const std::int64_t bytes = tensor.view.elements() * dtype_size(tensor.dtype);
    header[tensor.name] = {
        {"dtype", format_name(tensor.dtype)},
        {"shape", std::vector<std::int64_t>(tensor.view.shape.begin(),
                                            tensor.view.shape.begin() + tensor.view.rank)},
        {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data starts at a multiple of 8
  const std::uint64_t header_bytes = text.size();

  TNL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  TNL_TRY(file.write(&header_bytes, sizeof(header_bytes)));
  TNL_TRY(file.write(text));
  constexpr std::int64_t kBlock = 1 << 20;  // elements converted at a time
  std::vector<std::byte> block;
  for (const SafetensorsWrite& tensor : tensors) {
    const auto* source = static_cast<const std::byte*>(tensor.view.data);
    const std::int64_t elements = tensor.view.elements();
    if (tensor.view.dtype == tensor.dtype) {
      TNL_TRY(file.write(source, static_cast<std::size_t>(elements * dtype_size(tensor.dtype))));
      continue;
    }
    for (std::int64_t first = 0; first < elements; first += kBlock) {
      const std::int64_t count = std::min(kBlock, elements - first);
      block.resize(static_cast<std::size_t>(count * dtype_size(tensor.dtype)));
      convert(source + first * dtype_size(tensor.view.dtype), tensor.view.dtype, block.data(),
              tensor.dtype, count);
      TNL_TRY(file.write(block.data(), block.size()));
    }
  }
  return file.commit();
}

}  // namespace tnl
