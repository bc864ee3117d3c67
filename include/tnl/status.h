// Errors as values: every fallible call of the library returns a Status or a Result<T>.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace tnl {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // an argument or the content of a file is not what it has to be
  kNotFound,         // a file or directory does not exist
  kIo,               // the operating system refused a read or a write
  kUnavailable,      // a device or feature is missing on this machine
  kInterrupted,      // the caller asked to stop; what was reached so far is kept
  kInternal,         // a bug in the library
};

// A code and one sentence that names the argument or file, what was found and what was expected.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status invalid_argument(std::string message) {
  return {StatusCode::kInvalidArgument, std::move(message)};
}
inline Status not_found(std::string message) {
  return {StatusCode::kNotFound, std::move(message)};
}
inline Status io_error(std::string message) {
  return {StatusCode::kIo, std::move(message)};
}
inline Status unavailable(std::string message) {
  return {StatusCode::kUnavailable, std::move(message)};
}
inline Status interrupted(std::string message) {
  return {StatusCode::kInterrupted, std::move(message)};
}
inline Status internal_error(std::string message) {
  return {StatusCode::kInternal, std::move(message)};
}

// A value or the Status that says why there is none. Reading the value of a failed Result is
// undefined; test ok() first.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by intent
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit by intent

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace tnl
