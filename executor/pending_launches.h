// PendingLaunches: how many launches of each client are under way. One that asks for very many at
// once waits behind its own, so that the others are not kept from theirs.
//
// Threads: loop only.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/co.h"

namespace gantry {
class PendingLaunches {
 public:
  static constexpr size_t kMostEach = 256;

  // One launch, until it goes.
  class Place {
   public:
    Place(Place&& other) noexcept
        : all_(std::exchange(other.all_, nullptr)), client_(std::move(other.client_)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (all_ != nullptr) all_->leave(client_);
    }

   private:
    friend class PendingLaunches;
    Place(PendingLaunches& all, std::string client) : all_(&all), client_(std::move(client)) {}
    PendingLaunches* all_;
    std::string client_;
  };
  // Waits for the client's turn. nullopt: cancelled.
  Co<std::optional<Place>> take(std::string client);

 private:
  struct Waiting {
    explicit Waiting(const asio::any_io_executor& executor) : changed(executor) {}
    bool is_next = false;
    Event changed;
  };
  struct Client {
    size_t under_way = 0;
    std::deque<Waiting*> queue;
  };
  void leave(const std::string& client);

  std::map<std::string, Client> all_;
};
}  // namespace gantry
