#include "executor/event_log.h"

#include <algorithm>

#include "base/sys.h"
#include "containerizer/nested.h"

namespace gantry {
namespace {
void cut_to(std::string& text, size_t most) {
  if (text.size() <= most) return;
  text.resize(most - 3);
  text += "...";
}

bool is_among(const std::vector<std::string>& wanted, const std::string& text) {
  return wanted.empty() || std::ranges::find(wanted, text) != wanted.end();
}

const std::string* attribute(const HostEvent& event, std::string_view name) {
  const auto found = std::ranges::find(event.attributes, name, [](auto& a) { return a.first; });
  return found == event.attributes.end() ? nullptr : &found->second;
}

bool is_of_container(const HostEvent& event, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return true;
  return event.type == "container" && std::ranges::any_of(wanted, [&](const std::string& word) {
           return event.name == word || event.id.starts_with(word);
         });
}

bool is_of_image(const HostEvent& event, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return true;
  const std::string* image = event.type == "image" ? &event.name : attribute(event, "image");
  return std::ranges::any_of(wanted, [&](const std::string& word) {
    return (image != nullptr && (*image == word || image->starts_with(word + ":"))) ||
           (event.type == "image" && event.id.starts_with(word));
  });
}

bool passes(const HostEvent& event, const EventOptions& options) {
  return is_among(options.types, event.type) && is_among(options.actions, event.action) &&
         is_of_container(event, options.containers) && is_of_image(event, options.images);
}

HostEvent notice(HostEvent::Kind kind, std::string message) {
  HostEvent out;
  out.kind = kind;
  out.message = std::move(message);
  return out;
}
}  // namespace

class EventLog::Follower final : public EventStream {
 public:
  Follower(EventLog& log, EventOptions options) : log_(log), options_(std::move(options)) {
    ++log_.followers_;
    at_ = log_.end_;
    if (!options_.since_ns) return;
    const auto first = std::ranges::lower_bound(log_.events_, *options_.since_ns, {},
                                                [](const HostEvent& e) { return e.time_ns; });
    at_ = log_.begin() + static_cast<uint64_t>(first - log_.events_.begin());
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() override { --log_.followers_; }

  Co<Result<std::optional<HostEvent>>> next() override {
    for (;;) {
      if (is_over_) co_return std::optional<HostEvent>();
      if (at_ < log_.begin()) co_return last(cut_off());
      while (at_ < log_.end_) {
        const HostEvent& event = log_.events_[at_++ - log_.begin()];
        if (options_.until_ns && event.time_ns >= *options_.until_ns) {
          co_return std::optional<HostEvent>();
        }
        if (passes(event, options_)) co_return std::optional(event);
      }
      if (log_.closed_ == Last::yes) {
        co_return last(notice(HostEvent::Kind::ended, "the executor has ended"));
      }
      if (log_.closed_) co_return Error(Errc::cancelled, "the executor is leaving");
      const Duration left = until_end();
      if (left <= Duration::zero()) co_return std::optional<HostEvent>();
      const bool woken = co_await log_.changed_.wait(std::min(left, options_.heartbeat));
      if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the reader went away");
      if (!woken && until_end() > Duration::zero()) {
        co_return std::optional(notice(HostEvent::Kind::heartbeat, {}));
      }
    }
  }

 private:
  HostEvent cut_off() const {
    return notice(HostEvent::Kind::cut_off,
                  cat(log_.begin() - at_,
                      " events were forgotten before they were read: the reader "
                      "is too slow"));
  }
  std::optional<HostEvent> last(HostEvent event) {
    is_over_ = true;
    return std::optional(std::move(event));
  }
  Duration until_end() const {
    if (!options_.until_ns) return Duration::max();
    // It may be any number, and the difference more than one.
    const int64_t now = sys::realtime_ns();
    if (*options_.until_ns <= now) return Duration::zero();
    return std::chrono::nanoseconds(*options_.until_ns - now);
  }

  EventLog& log_;
  const EventOptions options_;
  uint64_t at_ = 0;
  bool is_over_ = false;
};

void EventLog::add(HostEvent event) {
  event.kind = HostEvent::Kind::event;
  event.time_ns = last_time_ns_ = std::max(sys::realtime_ns(), last_time_ns_ + 1);
  for (auto& [name, value] : event.attributes) cut_to(value, kMostText);
  cut_to(event.name, kMostText);
  if (events_.size() == kMost) events_.pop_front();
  events_.push_back(std::move(event));
  ++end_;
  changed_.notify();
}

std::unique_ptr<EventStream> EventLog::follow(EventOptions options) {
  return std::make_unique<Follower>(*this, std::move(options));
}

void EventLog::close(Last last) {
  closed_ = last;
  changed_.notify();
}

ContainerObserver observe_containers(EventLog& log) {
  return [&log](const Container& container, std::string_view action, EventAttributes attributes) {
    const Container& whole = outermost(container);
    const ContainerSpec& spec = *whole.spec;
    HostEvent event{.type = "container",
                    .action = std::string(action),
                    .id = whole.id.value(),
                    .name = spec.name,
                    .attributes = std::move(attributes),
                    .message = {}};
    if (const auto* image = std::get_if<ImageRoot>(&spec.root)) {
      event.attributes.emplace_back("image", image->reference);
    }
    if (container.parent) {
      event.attributes.emplace_back("exec_id", container.id.value());
      if (!container.spec->process.args.empty()) {
        event.attributes.emplace_back("command", container.spec->process.args[0]);
      }
    }
    log.add(std::move(event));
  };
}
}  // namespace gantry
