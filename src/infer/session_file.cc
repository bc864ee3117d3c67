// A session in one file:
//
//   0   SessionHeader
//   ..  recent tokens, kRecentTokens of 4 bytes
//   ..  held text, kMostHeld bytes
//   ..  logits, 4 bytes each, zeros up to a multiple of 8 bytes
//   ..  the states of the layers as one block, zeros up to a multiple of 8 bytes
//   ..  checksum of everything before, 8 bytes
//
// All little-endian; every part has a size that the model alone decides.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "core/checksum.h"
#include "core/file.h"
#include "core/try.h"
#include "infer/session_impl.h"

namespace tnl {
namespace {

constexpr char kMagic[8] = {'t', 'n', 'l', 's', 't', 'a', 't', 'e'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMostPartial = 8;  // a character has at most 4 bytes

struct SessionHeader {
  char magic[8] = {};
  std::uint32_t version = 0, state_dtype = 0;
  std::uint64_t file_bytes = 0, fingerprint = 0;
  std::int64_t position = 0;
  std::uint64_t random[4] = {};
  std::uint32_t begun = 0, in_text = 0, only_special = 0;
  std::uint32_t recent = 0, held = 0, partial = 0;  // how many of each
  char partial_bytes[kMostPartial] = {};
  std::uint64_t reserved[3] = {};
};
static_assert(sizeof(SessionHeader) == 128);

std::size_t padded(std::size_t bytes) {
  return (bytes + 7) / 8 * 8;
}

// Where the parts lie.
struct Layout {
  std::size_t recent = sizeof(SessionHeader);
  std::size_t held = recent + static_cast<std::size_t>(Session::kRecentTokens) * 4;
  std::size_t logits = held + GenerateState::kMostHeld;
  std::size_t states, checksum, end;

  Layout(const Model& model, std::size_t state_bytes) {
    states = logits + padded(static_cast<std::size_t>(model.config().vocab_size) * 4);
    checksum = states + padded(state_bytes);
    end = checksum + 8;
  }
};

template <class T>
bool all_finite(const char* data, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// What `name` should be and is not.
class SessionFile {
 public:
  SessionFile(const std::filesystem::path& path, std::string_view bytes)
      : path_(path), bytes_(bytes) {}

  // Everything that can be said without a model.
  Status check_file() {
    if (bytes_.size() >= sizeof header_) std::memcpy(&header_, bytes_.data(), sizeof header_);
    if (std::memcmp(header_.magic, kMagic, sizeof kMagic) != 0) {
      return wrong("found no saved session", "a file that --save-state has written");
    }
    if (header_.version != kVersion) {
      return wrong(fmt::format("found a session of format version {}", header_.version),
                   fmt::format("{}", kVersion));
    }
    if (header_.file_bytes != bytes_.size() || bytes_.size() % 8 != 0 ||
        bytes_.size() < sizeof header_ + 8) {
      return wrong(fmt::format("found {} bytes", bytes_.size()),
                   fmt::format("{}: it is damaged", header_.file_bytes));
    }
    std::uint64_t expected = 0;
    std::memcpy(&expected, bytes_.data() + bytes_.size() - 8, 8);
    const std::uint64_t found = checksum(kChecksumStart, bytes_.data(), bytes_.size() - 8);
    if (found == expected) return {};
    return wrong(fmt::format("found checksum {:016x}", found),
                 fmt::format("{:016x}: it is damaged", expected));
  }

  Status check_model(std::uint64_t fingerprint) const {
    if (header_.fingerprint == fingerprint) return {};
    return wrong(fmt::format("found a session of model {:016x}", header_.fingerprint),
                 fmt::format("this one, {:016x}: its parameters and how they are stored (--dtype) "
                             "have to be the same",
                             fingerprint));
  }

  Status check_content(const Layout& layout, DType dtype, std::int64_t vocab_size) const {
    if (bytes_.size() != layout.end || header_.state_dtype != static_cast<std::uint32_t>(dtype)) {
      return wrong(
          fmt::format("found {} bytes with states of type {}", bytes_.size(), header_.state_dtype),
          fmt::format("{} with {}, {}: saved on another kind of device?", layout.end,
                      static_cast<std::uint32_t>(dtype), dtype_name(dtype)));
    }
    const std::int64_t kept = std::min(header_.position, Session::kRecentTokens);
    if (header_.position < 0 || header_.position > (std::int64_t{1} << 62) ||
        header_.recent != static_cast<std::uint64_t>(kept) ||
        header_.held > GenerateState::kMostHeld || header_.partial > kMostPartial) {
      return wrong("found counts out of range", "those of a session: it is damaged");
    }
    for (std::uint32_t i = 0; i < header_.recent; ++i) {
      const std::int32_t id = recent(layout, i);
      if (id >= 0 && id < vocab_size) continue;
      return wrong(fmt::format("found token {}", id), fmt::format("0 to {}", vocab_size - 1));
    }
    const char* states = bytes_.data() + layout.states;
    const std::size_t state_bytes = layout.checksum - layout.states;
    const bool finite = dtype == DType::kF64 ? all_finite<double>(states, state_bytes / 8)
                                             : all_finite<float>(states, state_bytes / 4);
    return finite ? Status() : wrong("found a state that is not finite", "numbers");
  }

  const SessionHeader& header() const { return header_; }
  std::int32_t recent(const Layout& layout, std::size_t index) const {
    std::int32_t id = 0;
    std::memcpy(&id, bytes_.data() + layout.recent + 4 * index, sizeof id);
    return id;
  }
  const char* at(std::size_t offset) const { return bytes_.data() + offset; }

 private:
  Status wrong(const std::string& found, const std::string& expected) const {
    return invalid_argument(fmt::format("{}: {}, expected {}", path_.string(), found, expected));
  }

  const std::filesystem::path& path_;
  std::string_view bytes_;
  SessionHeader header_;
};

}  // namespace

Status Session::save(const std::filesystem::path& path, const GenerateState& text) const {
  const auto recent_tokens = recent();
  if (text.held.size() > GenerateState::kMostHeld || text.partial.size() > kMostPartial) {
    return invalid_argument(
        fmt::format("text: found {} and {} bytes that were held back, expected at most {} and {}",
                    text.held.size(), text.partial.size(), GenerateState::kMostHeld, kMostPartial));
  }
  const Layout layout(impl_->model, impl_->state.bytes());
  TNL_ASSIGN(const std::uint64_t fingerprint, impl_->model.fingerprint());
  SessionHeader header{.version = kVersion,
                       .state_dtype = static_cast<std::uint32_t>(impl_->state.layer(0).dtype),
                       .file_bytes = layout.end,
                       .fingerprint = fingerprint,
                       .position = position(),
                       .begun = text.begun,
                       .in_text = text.in_text,
                       .only_special = text.only_special,
                       .recent = static_cast<std::uint32_t>(recent_tokens.size()),
                       .held = static_cast<std::uint32_t>(text.held.size()),
                       .partial = static_cast<std::uint32_t>(text.partial.size())};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::copy(text.random.begin(), text.random.end(), header.random);
  std::copy(text.partial.begin(), text.partial.end(), header.partial_bytes);

  std::string bytes(layout.end, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!recent_tokens.empty()) {
    std::memcpy(bytes.data() + layout.recent, recent_tokens.data(), recent_tokens.size_bytes());
  }
  std::copy(text.held.begin(), text.held.end(), bytes.begin() + layout.held);
  if (position() > 0) {
    std::memcpy(bytes.data() + layout.logits, impl_->logits.data(), impl_->logits.size() * 4);
  }
  TNL_TRY(impl_->state.copy_to(bytes.data() + layout.states));
  const std::uint64_t sum = checksum(kChecksumStart, bytes.data(), layout.checksum);
  std::memcpy(bytes.data() + layout.checksum, &sum, sizeof sum);
  return write_file(path, bytes);
}

Result<Session> Session::load(const Model& model, const std::filesystem::path& path,
                              GenerateState* text, std::int64_t prefill_chunk) {
  TNL_ASSIGN(const MappedFile mapped, MappedFile::open(path));
  SessionFile file(path, mapped.text());
  TNL_TRY(file.check_file());
  TNL_ASSIGN(const std::uint64_t fingerprint, model.fingerprint());
  TNL_TRY(file.check_model(fingerprint));
  TNL_ASSIGN(Session session, Session::create(model, prefill_chunk));
  Impl& impl = *session.impl_;
  const Layout layout(model, impl.state.bytes());
  TNL_TRY(file.check_content(layout, impl.state.layer(0).dtype, model.config().vocab_size));

  const SessionHeader& header = file.header();
  TNL_TRY(impl.state.copy_from(file.at(layout.states)));
  impl.state.positions()[0] = header.position;
  std::memcpy(impl.logits.data(), file.at(layout.logits), impl.logits.size() * 4);
  for (std::uint32_t i = 0; i < header.recent; ++i) impl.recent.push_back(file.recent(layout, i));
  if (text == nullptr) return session;
  *text = {.begun = header.begun != 0,
           .random = {},
           .in_text = header.in_text != 0,
           .only_special = header.only_special != 0,
           .held = std::string(file.at(layout.held), header.held),
           .partial = std::string(header.partial_bytes, header.partial)};
  std::copy(header.random, header.random + 4, text->random.begin());
  return session;
}

}  // namespace tnl
