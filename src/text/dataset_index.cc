#include "text/dataset_index.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr char kFormat[] = "tnl-tokens";
constexpr int kVersion = 1;

// Values of one JSON object, each with a sentence where it is missing or of another type.
class Object {
 public:
  Object(std::string where, const Json& json) : where_(std::move(where)), json_(json) {}

  Result<std::int64_t> count(const char* name) const {
    constexpr std::int64_t kMost = std::int64_t{1} << 58;
    const auto found = json_.find(name);
    if (found == json_.end() || !found->is_number_integer() || *found < 0 || *found > kMost) {
      return wrong(name, "a number of 0 or more");
    }
    return found->get<std::int64_t>();
  }
  Result<std::string> text(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end() || !found->is_string()) return wrong(name, "a string");
    return found->get<std::string>();
  }
  Result<Object> object(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end() || !found->is_object()) return wrong(name, "an object");
    return Object(where_, *found);
  }
  Result<std::vector<Object>> objects(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end() || !found->is_array()) return wrong(name, "an array of objects");
    std::vector<Object> items;
    for (const Json& item : *found) {
      if (!item.is_object()) return wrong(name, "an array of objects");
      items.emplace_back(where_, item);
    }
    return items;
  }
  Status wrong(const char* name, const char* expected) const {
    return invalid_argument(fmt::format("{}: \"{}\" is not {}", where_, name, expected));
  }

 private:
  std::string where_;
  const Json& json_;
};

Result<Dataset::Shard> read_shard(const Object& object) {
  Dataset::Shard shard;
  TNL_ASSIGN(shard.file, object.text("file"));
  TNL_ASSIGN(shard.tokens, object.count("tokens"));
  TNL_ASSIGN(shard.documents, object.count("documents"));
  TNL_ASSIGN(shard.bytes, object.count("bytes"));
  TNL_ASSIGN(const std::string sum, object.text("checksum"));
  if (!is_file_name(shard.file)) {
    return object.wrong("file", "the name of a file beside the index");
  }
  if (sum.size() != 16 || sum.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return object.wrong("checksum", "16 hexadecimal digits");
  }
  shard.checksum = std::stoull(sum, nullptr, 16);
  return shard;
}

Result<SplitIndex> read_split(const Object& object) {
  SplitIndex split;
  TNL_ASSIGN(split.tokens, object.count("tokens"));
  TNL_ASSIGN(split.documents, object.count("documents"));
  TNL_ASSIGN(split.bytes, object.count("bytes"));
  TNL_ASSIGN(const auto shards, object.objects("shards"));
  std::int64_t tokens = 0, documents = 0;
  for (const Object& item : shards) {
    TNL_ASSIGN(Dataset::Shard shard, read_shard(item));
    tokens = std::min(tokens + shard.tokens, std::int64_t{1} << 60);
    documents = std::min(documents + shard.documents, std::int64_t{1} << 60);
    split.shards.push_back(std::move(shard));
  }
  if (tokens != split.tokens) return object.wrong("tokens", "the sum over the shards");
  if (documents != split.documents) return object.wrong("documents", "the sum over the shards");
  return split;
}

}  // namespace

std::string DatasetIndex::to_json() const {
  nlohmann::ordered_json json = {
      {"format", kFormat},
      {"version", kVersion},
      {"tokenizer", {{"kind", tokenizer_kind}, {"vocab_size", vocab_size}}}};
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const SplitIndex& split = splits[i];
    auto shards = nlohmann::ordered_json::array();
    for (const Dataset::Shard& shard : split.shards) {
      shards.push_back({{"file", shard.file},
                        {"tokens", shard.tokens},
                        {"documents", shard.documents},
                        {"bytes", shard.bytes},
                        {"checksum", fmt::format("{:016x}", shard.checksum)}});
    }
    json["splits"][kSplitNames[i]] = {{"tokens", split.tokens},
                                      {"documents", split.documents},
                                      {"bytes", split.bytes},
                                      {"shards", shards}};
  }
  return json.dump(1) + "\n";
}

Result<DatasetIndex> DatasetIndex::read(const std::filesystem::path& file) {
  TNL_ASSIGN(const std::string text, read_file(file, std::int64_t{1} << 28));
  const Json json = parse_json(text);
  if (!json.is_object() || json.value("format", Json()) != kFormat) {
    return invalid_argument(
        fmt::format("{}: not the index of a data set packed by tnl, or damaged", file.string()));
  }
  if (json.value("version", Json()) != kVersion) {
    return invalid_argument(fmt::format("{}: format version {}, expected {}", file.string(),
                                        shown(json.value("version", Json())), kVersion));
  }
  const Object root(file.string(), json);
  DatasetIndex index;
  TNL_ASSIGN(const Object tokenizer, root.object("tokenizer"));
  TNL_ASSIGN(index.tokenizer_kind, tokenizer.text("kind"));
  TNL_ASSIGN(index.vocab_size, tokenizer.count("vocab_size"));
  if (index.vocab_size < 1 || index.vocab_size > (std::int64_t{1} << 31)) {
    return tokenizer.wrong("vocab_size", "a number from 1 to 2^31");
  }
  TNL_ASSIGN(const Object splits, root.object("splits"));
  for (std::size_t i = 0; i < index.splits.size(); ++i) {
    TNL_ASSIGN(const Object split, splits.object(kSplitNames[i]));
    TNL_ASSIGN(index.splits[i], read_split(split));
  }
  return index;
}

}  // namespace tnl
