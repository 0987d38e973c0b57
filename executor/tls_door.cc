#include "executor/tls_door.h"

#include <glog/logging.h>

namespace gantry {
namespace {
void say_new_crl(const Result<void>& read) {
  if (read) {
    LOG(INFO) << "the revocation lists of --listen-tls-crl have changed and are read anew";
  } else {
    LOG(ERROR) << "the old revocation lists count on: " << read.error().to_string();
  }
}
}  // namespace

Result<std::unique_ptr<TlsDoor>> TlsDoor::open(const Config& config, http::Handler& inside) {
  auto context = GANTRY_TRY(
      http::TlsContext::open({.certificate = config.listen_tls_cert,
                              .key = config.listen_tls_key,
                              .client_ca = config.listen_tls_client_ca,
                              .crl = config.listen_tls_crl,
                              .certificate_optional = !config.listen_tls_token_file.empty(),
                              .on_new_crl = say_new_crl})
          .context("--listen-tls"));
  std::unique_ptr<TlsDoor> door(new TlsDoor(config, std::move(context), inside));
  GANTRY_TRY(door->load_token());
  return door;
}

Result<void> TlsDoor::load_token() {
  if (config_.listen_tls_token_file.empty()) return {};
  return gatekeeper_.load_token(config_.listen_tls_token_file).context("--listen-tls-token-file");
}

Result<void> TlsDoor::reload() {
  GANTRY_TRY(load_token());
  return context_->reload();
}
}  // namespace gantry
