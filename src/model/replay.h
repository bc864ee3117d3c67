// Work of a pass that is recorded when it comes again, so that a GPU gets it in one launch.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "backend/backend.h"
#include "core/try.h"

namespace tnl {

template <class Key>
class Replay {
 public:
  // `key` is all that decides what `work` queues beside the numbers it finds in memory of the
  // device: shapes, scalars and every address that may change. Done as it is the first time; from
  // the second time in a row on a recording, which stays while work of other keys comes in between.
  Status run(Backend& backend, Key key, std::function<Status()> work) {
    if (recording_ == nullptr || *recorded_ != key) {
      if (newest_ != key) {
        newest_.reset();  // what fails may have taken only a part of its memory
        TNL_TRY(work());
        newest_ = std::move(key);
        return {};
      }
      recording_.reset();  // never two
      TNL_ASSIGN(recording_, backend.record(std::move(work)));
      recorded_ = std::move(key);
    }
    return recording_->run();
  }

 private:
  std::optional<Key> newest_, recorded_;
  std::unique_ptr<Recording> recording_;  // of recorded_
};

}  // namespace tnl
