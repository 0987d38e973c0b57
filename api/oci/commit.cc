#include "api/oci/commit.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "api/oci/json_view.h"

namespace gantry::oci {
namespace {
using Json = rapidjson::Value;

class ConfigEditor {
 public:
  explicit ConfigEditor(rapidjson::Document& document) : root_(document) {}
  void apply(const ImageChanges& changes);
  void add_layer(const CommittedLayer& layer, size_t layers_below);
  std::string take() const {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    root_.Accept(writer);
    return {buffer.GetString(), buffer.GetSize()};
  }

 private:
  Json text(std::string_view value) {
    return Json(value.data(), static_cast<rapidjson::SizeType>(value.size()), allocator());
  }
  Json texts(const std::vector<std::string>& values) {
    Json out(rapidjson::kArrayType);
    for (const std::string& value : values) out.PushBack(text(value), allocator());
    return out;
  }
  // The member, made anew where it is absent or of another type.
  Json& ensure(Json& object, const char* name, rapidjson::Type type) {
    const auto found = object.FindMember(name);
    if (found == object.MemberEnd()) {
      object.AddMember(text(name), Json(type), allocator());
      return object[name];
    }
    if (found->value.GetType() != type) found->value = Json(type);
    return found->value;
  }
  void set(Json& object, std::string_view name, Json value) {
    const Json key = text(name);
    const auto found = object.FindMember(key);
    if (found != object.MemberEnd()) {
      found->value = value;
    } else {
      object.AddMember(text(name), value, allocator());
    }
  }
  void set_unless_empty(Json& object, const char* name, std::string_view value) {
    if (!value.empty()) set(object, name, text(value));
  }
  void set_environment(Json& config, const std::string& variable);
  rapidjson::Document::AllocatorType& allocator() { return root_.GetAllocator(); }

  rapidjson::Document& root_;
};

void ConfigEditor::set_environment(Json& config, const std::string& variable) {
  const std::string name = variable.substr(0, variable.find('=') + 1);
  if (config.HasMember("Env") && config["Env"].IsString()) {
    // A lone string is taken for a list of one (JsonView::texts).
    const std::string lone = config["Env"].GetString();
    config["Env"] = texts({lone});
  }
  Json& list = ensure(config, "Env", rapidjson::kArrayType);
  for (Json& item : list.GetArray()) {
    if (std::string_view(item.GetString(), item.GetStringLength()).starts_with(name)) {
      item = text(variable);
      return;
    }
  }
  list.PushBack(text(variable), allocator());
}

void ConfigEditor::apply(const ImageChanges& changes) {
  Json& config = ensure(root_, "config", rapidjson::kObjectType);
  if (changes.entrypoint) {
    set(config, "Entrypoint", texts(*changes.entrypoint));
    // What was given to another entry point means nothing to this one.
    config.RemoveMember("Cmd");
  }
  if (changes.cmd) set(config, "Cmd", texts(*changes.cmd));
  for (const std::string& variable : changes.env) set_environment(config, variable);
  for (const auto& [member, names] : {std::pair("ExposedPorts", &changes.exposed_ports),
                                      std::pair("Volumes", &changes.volumes)}) {
    for (const std::string& name : *names) {
      set(ensure(config, member, rapidjson::kObjectType), name, Json(rapidjson::kObjectType));
    }
  }
  for (const auto& [name, value] : changes.labels) {
    set(ensure(config, "Labels", rapidjson::kObjectType), name, text(value));
  }
  if (changes.user) set(config, "User", text(*changes.user));
  if (changes.working_dir) set(config, "WorkingDir", text(*changes.working_dir));
  if (changes.stop_signal) set(config, "StopSignal", text(*changes.stop_signal));
}

void ConfigEditor::add_layer(const CommittedLayer& layer, size_t layers_below) {
  ensure(root_["rootfs"], "diff_ids", rapidjson::kArrayType)
      .PushBack(text(layer.diff_id.to_string()), allocator());
  set(root_, "created", text(layer.created));
  set_unless_empty(root_, "author", layer.author);
  Json& history = ensure(root_, "history", rapidjson::kArrayType);
  size_t told = 0;
  for (const Json& step : history.GetArray()) {
    const bool is_empty = step.IsObject() && step.HasMember("empty_layer") &&
                          step["empty_layer"].IsBool() && step["empty_layer"].GetBool();
    told += is_empty ? 0 : 1;
  }
  // Steps and layers are told apart by their order alone.
  for (; told < layers_below; ++told) history.PushBack(Json(rapidjson::kObjectType), allocator());
  Json step(rapidjson::kObjectType);
  set(step, "created", text(layer.created));
  set_unless_empty(step, "created_by", layer.created_by);
  set_unless_empty(step, "author", layer.author);
  set_unless_empty(step, "comment", layer.comment);
  history.PushBack(step, allocator());
}

std::string_view as_oci_layer(std::string_view type) {
  if (type.ends_with("gzip")) return media::kLayerGzip;
  return type.ends_with("zstd") ? media::kLayerZstd : media::kLayer;
}
}  // namespace

Result<std::string> commit_config(std::string_view base, const ImageChanges& changes,
                                  const CommittedLayer& layer) {
  const ImageConfig before = GANTRY_TRY(parse_image_config(base));
  if (before.diff_ids.size() >= kMaxLayers) {
    return Error(Errc::exhausted, cat("the image has ", before.diff_ids.size(),
                                      " layers, as many as one can have; `gantry export CONTAINER "
                                      "| gantry import - NAME` makes one of a single layer"));
  }
  rapidjson::Document document;
  GANTRY_TRY(parse_json(document, base, "image config", kMaxConfigBytes));
  ConfigEditor editor(document);
  editor.apply(changes);
  editor.add_layer(layer, before.diff_ids.size());
  std::string out = editor.take();
  GANTRY_TRY(parse_image_config(out));
  return out;
}

Result<Manifest> commit_manifest(std::string_view base, Descriptor config, Descriptor layer) {
  Manifest out = GANTRY_TRY(parse_manifest(base));
  out.media_type = media::kManifest;
  out.config = std::move(config);
  for (Descriptor& below : out.layers) below.media_type = as_oci_layer(below.media_type);
  out.layers.push_back(std::move(layer));
  return out;
}
}  // namespace gantry::oci
