#include "fetcher/image_fields.h"
#include "provisioner/layout_store.h"

namespace gantry {
std::string encode_entry(const CatalogEntry& entry) {
  Fields out;
  for (const std::string& name : entry.info.references) out.add("reference", name);
  out.add("manifest", entry.info.digest.to_string());
  out.add_number("manifest.size", entry.manifest_size);
  out.add("manifest.type", entry.manifest_type);
  out.add("config", entry.info.id.to_string());
  out.add_number("imported", entry.info.imported_ns);
  for (const auto& [digest, size] : entry.layers) {
    out.add("layer", digest.to_string());
    out.add_number("layer.size", size);
  }
  if (!entry.request_id.empty()) out.add("request", entry.request_id);
  add_image_config(out, *entry.info.config);
  return out.encode();
}

// Also the answer of gantry-worker's ingest, which has no time yet.
Result<CatalogEntry> decode_entry(std::string_view record) {
  Fields in = GANTRY_TRY(Fields::decode(record));
  auto digest = [&](std::string_view name) { return oci::Digest::parse(in.get(name)); };
  CatalogEntry out{{in.all("reference"), GANTRY_TRY(digest("manifest")),
                    GANTRY_TRY(digest("config")), 0, 0, nullptr},
                   std::string(in.get("manifest.type")),
                   0,
                   {},
                   {},
                   std::string(in.get("request"))};
  out.manifest_size = GANTRY_TRY(in.number<uint64_t>("manifest.size"));
  if (in.has("imported")) out.info.imported_ns = GANTRY_TRY(in.number<int64_t>("imported"));
  auto names = in.all("layer"), sizes = in.all("layer.size");
  auto config = std::make_shared<oci::ImageConfig>(GANTRY_TRY(image_config_from(in)));
  if (names.empty() || names.size() != sizes.size() || names.size() != config->diff_ids.size() ||
      names.size() > oci::kMaxLayers) {
    return Error(Errc::corrupt, "image record: layers do not match");
  }
  for (size_t i = 0; i < names.size(); ++i) {
    uint64_t size = 0;
    if (!parse_number(sizes[i], size)) return Error(Errc::corrupt, "image record: layer size");
    out.layers.emplace_back(GANTRY_TRY(oci::Digest::parse(names[i])), size);
    out.info.size += size;
  }
  out.chains = LayerStore::chains_of(config->diff_ids);
  out.info.config = std::move(config);
  return out;
}
}  // namespace gantry
