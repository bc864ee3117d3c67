#include "text/gguf.h"

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

enum Type : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// Bytes of a number; 0 where the type is none.
std::size_t width_of(std::uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

constexpr std::uint64_t kMostElements = std::uint64_t{1} << 24;

template <class T>
T load(const char* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

std::int64_t integer_at(std::uint32_t type, const char* data) {
  switch (type) {
    case kInt8:
      return load<std::int8_t>(data);
    case kUint16:
      return load<std::uint16_t>(data);
    case kInt16:
      return load<std::int16_t>(data);
    case kUint32:
      return load<std::uint32_t>(data);
    case kInt32:
      return load<std::int32_t>(data);
    case kUint64:
    case kInt64:
      return load<std::int64_t>(data);
    default:
      return load<std::uint8_t>(data);
  }
}

bool is_float(std::uint32_t type) {
  return type == kFloat32 || type == kFloat64;
}

double float_at(std::uint32_t type, const char* data) {
  return type == kFloat32 ? static_cast<double>(load<float>(data)) : load<double>(data);
}

// Reads a file of little-endian numbers from front to back.
class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file), rest_(file) {}

  Status truncated(std::string_view what) const {
    return invalid_argument(
        fmt::format("the file ends inside of {}, at byte {}", what, file_.size()));
  }
  template <class T>
  Result<T> number(std::string_view what) {
    if (rest_.size() < sizeof(T)) return truncated(what);
    const T value = load<T>(rest_.data());
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  Result<std::string_view> bytes(std::uint64_t count, std::string_view what) {
    if (count > rest_.size()) return truncated(what);
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  Result<std::string_view> text(std::string_view what) {
    TNL_ASSIGN(const auto size, number<std::uint64_t>(what));
    return bytes(size, what);
  }
  std::size_t left() const { return rest_.size(); }

 private:
  std::string_view file_, rest_;
};

// An array with all of its elements read; empty where it is not `wanted`.
Result<GgufValue> read_array(Reader& reader, std::uint32_t type, std::uint64_t count,
                             std::string_view key, bool wanted) {
  const std::size_t width = type == kString ? sizeof(std::uint64_t) : width_of(type);
  if (width == 0) {
    return invalid_argument(
        fmt::format("{} is an array of the type {}, which is not supported", key, type));
  }
  if (count > reader.left() / width) return reader.truncated(key);
  if (wanted && count > kMostElements) {
    return invalid_argument(
        fmt::format("{} has {} elements, expected at most {}", key, count, kMostElements));
  }
  std::vector<std::string_view> texts;
  std::vector<double> numbers;
  for (std::uint64_t i = 0; type == kString && i < count; ++i) {
    TNL_ASSIGN(const std::string_view text, reader.text(key));
    if (wanted) texts.push_back(text);
  }
  if (type == kString) return GgufValue(std::move(texts));
  TNL_ASSIGN(const std::string_view bytes, reader.bytes(count * width, key));
  for (std::uint64_t i = 0; wanted && i < count; ++i) {
    const char* data = bytes.data() + i * width;
    numbers.push_back(is_float(type) ? float_at(type, data)
                                     : static_cast<double>(integer_at(type, data)));
  }
  return GgufValue(std::move(numbers));
}

}  // namespace

Result<GgufMetadata> GgufMetadata::parse(std::string_view file) {
  Reader reader(file);
  TNL_ASSIGN(const std::string_view magic, reader.bytes(4, "the magic number"));
  if (magic != "GGUF") return invalid_argument("no GGUF file: it does not begin with \"GGUF\"");
  TNL_ASSIGN(const auto version, reader.number<std::uint32_t>("the version"));
  if (version != 2 && version != 3) {
    return invalid_argument(fmt::format("GGUF version {}, expected 2 or 3", version));
  }
  TNL_TRY(reader.number<std::uint64_t>("the number of tensors").status());
  TNL_ASSIGN(const auto count, reader.number<std::uint64_t>("the number of keys"));
  GgufMetadata metadata;
  for (std::uint64_t i = 0; i < count; ++i) {
    TNL_ASSIGN(const std::string_view name, reader.text("a key"));
    const std::string key = printable(name, 200);
    TNL_ASSIGN(const auto type, reader.number<std::uint32_t>(key));
    GgufValue value;
    const bool wanted = key.starts_with("tokenizer.");  // the rest can be anything
    if (type == kString) {
      TNL_ASSIGN(value, reader.text(key));
    } else if (type == kArray) {
      TNL_ASSIGN(const auto element, reader.number<std::uint32_t>(key));
      TNL_ASSIGN(const auto size, reader.number<std::uint64_t>(key));
      TNL_ASSIGN(value, read_array(reader, element, size, key, wanted));
    } else {
      const std::size_t width = width_of(type);
      if (width == 0) {
        return invalid_argument(fmt::format("{} has the type {}, expected 0 to 12", key, type));
      }
      TNL_ASSIGN(const std::string_view bytes, reader.bytes(width, key));
      if (is_float(type)) {
        value = float_at(type, bytes.data());
      } else {
        value = integer_at(type, bytes.data());
      }
    }
    if (wanted && !metadata.values_.emplace(key, std::move(value)).second) {
      return invalid_argument(fmt::format("the key {} is there twice", key));
    }
  }
  return metadata;
}

template <class T>
Result<T> GgufMetadata::get(const std::string& key, std::string_view type) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return invalid_argument(fmt::format("no key {}", key));
  if (const T* value = std::get_if<T>(&found->second)) return *value;
  return invalid_argument(fmt::format("the key {} is no {}", key, type));
}

Result<std::string_view> GgufMetadata::text(const std::string& key) const {
  return get<std::string_view>(key, "string");
}

Result<std::vector<std::string_view>> GgufMetadata::texts(const std::string& key) const {
  return get<std::vector<std::string_view>>(key, "array of strings");
}

Result<std::vector<double>> GgufMetadata::numbers(const std::string& key) const {
  return get<std::vector<double>>(key, "array of numbers");
}

Result<std::int64_t> GgufMetadata::integer(const std::string& key, std::int64_t fallback) const {
  if (!values_.contains(key)) return fallback;
  return get<std::int64_t>(key, "integer");
}

}  // namespace tnl
