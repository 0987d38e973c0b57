// Offers of this host's resources: made, accepted, declined, taken back.
#include "executor/scheduler/framework.h"

namespace gantry {
void Scheduler::on(Framework& framework, AcceptCall call) {
  ResourceAmounts left;
  for (const std::string& id : call.offer_ids) {
    auto it = offers_.find(id);
    if (it == offers_.end() || it->second.framework_id != framework.spec.id) {
      for (const TaskSpec& task : call.launches) {
        tell(framework, task.id,
             framework.spec.partition_aware ? TaskState::dropped : TaskState::lost,
             cat("Task launched with invalid offers: Offer ", id, " is no longer valid"),
             StatusReason::invalid_offers);
      }
      return;
    }
  }
  for (const std::string& id : call.offer_ids) {
    auto it = offers_.find(id);
    if (it == offers_.end()) continue;  // named twice
    add(left, it->second.resources);
    return_offer(id, call.refuse_seconds);
  }
  for (TaskSpec& task : call.launches) start_task(framework, std::move(task), left);
  wake_.notify();
}

void Scheduler::on(Framework& framework, DeclineCall call) {
  for (const std::string& id : call.offer_ids) {
    auto it = offers_.find(id);
    if (it != offers_.end() && it->second.framework_id == framework.spec.id) {
      return_offer(id, call.refuse_seconds);
    }
  }
  wake_.notify();
}

void Scheduler::return_offer(const std::string& offer_id, double refuse_seconds) {
  auto it = offers_.find(offer_id);
  if (it == offers_.end()) return;
  if (auto owner = frameworks_.find(it->second.framework_id); owner != frameworks_.end()) {
    owner->second->offers.erase(offer_id);
    owner->second->refused_until = now() + seconds(refuse_seconds);
  }
  offers_.erase(it);
}

ResourceAmounts Scheduler::free_resources() const {
  ResourceAmounts left = config_.total;
  for (auto& [key, task] : tasks_) {
    if (!is_terminal(task->state)) subtract(left, task->resources);
  }
  for (auto& [id, offer] : offers_) subtract(left, offer.resources);
  return left;
}

// Everything that is free goes to one framework: who uses least and wants an offer.
void Scheduler::offer_round() {
  ResourceAmounts left = free_resources();
  if (left.cpus < 0.01 || left.mem_mib < 32) return;
  std::map<std::string, double> used;
  for (auto& [key, task] : tasks_) {
    if (!is_terminal(task->state)) used[key.first] += task->resources.cpus;
  }
  FrameworkPtr chosen;
  for (auto& [id, framework] : frameworks_) {
    if (!framework->subscription || framework->is_suppressed || framework->refused_until > now()) {
      continue;
    }
    if (!chosen || used[id] < used[chosen->spec.id]) chosen = framework;
  }
  if (!chosen) return;
  std::string id = cat(master_id_, "-O", next_offer_++);
  offers_[id] = {chosen->spec.id, left};
  chosen->offers.insert(id);
  chosen->subscription->push(OffersEvent{{OfferEvent{.id = id,
                                                     .framework_id = chosen->spec.id,
                                                     .agent_id = agent_id_,
                                                     .hostname = config_.hostname,
                                                     .resources = left}}});
}
}  // namespace gantry
