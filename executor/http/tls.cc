// TLS by OpenSSL. The one user of Asio's ssl, and its one definition.
#include "executor/http/tls.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <fcntl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "base/sys.h"
#include "executor/http/tls_stream.h"

namespace gantry::http {
namespace ssl = asio::ssl;
using boost::system::error_code;

namespace {
constexpr size_t kMostPem = 1u << 20;

Result<void> check(const error_code& code, std::string_view what) {
  if (!code) return {};
  return Error(Errc::invalid, cat(what, ": ", code.message()));
}

// A private key that others can read is nobody's.
Result<std::string> read_key(const std::string& path) {
  const UniqueFd file = GANTRY_TRY(sys::open(path, O_RDONLY | O_NONBLOCK));
  struct ::stat st;
  if (::fstat(file.get(), &st) != 0) return Error::from_errno(errno, cat("look at ", path));
  if (!S_ISREG(st.st_mode)) return Error(Errc::invalid, cat(path, ": is no file"));
  if ((st.st_mode & 07) != 0) {
    return Error(Errc::invalid, cat(path, ": a key that every user can use: chmod o= ", path));
  }
  return sys::read_all(file.get(), kMostPem);
}

Result<void> load_crl(SSL_CTX* context, const std::string& path) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup == nullptr || X509_load_crl_file(lookup, path.c_str(), X509_FILETYPE_PEM) <= 0) {
    return Error(Errc::invalid, cat(path, ": has no revocation list in PEM"));
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

// What a changed file differs in; a rename over it is another inode.
struct FileState {
  ino_t inode = 0;
  off_t size = 0;
  int64_t changed_ns = 0;
  bool operator==(const FileState&) const = default;
};
FileState state_of(const std::string& path) {
  struct ::stat st;
  if (path.empty() || ::stat(path.c_str(), &st) != 0) return {};
  return {st.st_ino, st.st_size, st.st_ctim.tv_sec * 1'000'000'000 + st.st_ctim.tv_nsec};
}

Result<std::shared_ptr<ssl::context>> make_context(const TlsFiles& files) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* raw = context->native_handle();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  // Each handshake shows the certificate anew: nobody comes back by a ticket after a reload.
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  error_code code;
  // A key with a passphrase is refused; OpenSSL would ask for it at a terminal.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return ""; }, code);
  context->use_certificate_chain_file(files.certificate, code);
  GANTRY_TRY(check(code, files.certificate));
  const std::string key = GANTRY_TRY(read_key(files.key));
  context->use_private_key(asio::buffer(key), ssl::context::pem, code);
  GANTRY_TRY(check(code, files.key));
  if (SSL_CTX_check_private_key(raw) != 1) {
    return Error(Errc::invalid, cat(files.key, " is not the key of ", files.certificate));
  }
  if (files.client_ca.empty()) return context;
  context->load_verify_file(files.client_ca, code);
  GANTRY_TRY(check(code, files.client_ca));
  if (!files.crl.empty()) GANTRY_TRY(load_crl(raw, files.crl));
  SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(files.client_ca.c_str()));
  const ssl::verify_mode required =
      files.certificate_optional ? 0 : ssl::verify_fail_if_no_peer_cert;
  context->set_verify_mode(ssl::verify_peer | required, code);
  GANTRY_TRY(check(code, files.client_ca));
  return context;
}

class OpenSslContext final : public TlsContext {
 public:
  explicit OpenSslContext(TlsFiles files) : files_(std::move(files)) {}
  Result<void> reload() override {
    // ORDER: before they are read: a change meanwhile is one more.
    crl_ = state_of(files_.crl);
    context_ = GANTRY_TRY(make_context(files_));
    return {};
  }
  // For the next connection.
  std::shared_ptr<ssl::context> current() {
    if (state_of(files_.crl) != crl_) files_.on_new_crl(reload());
    return context_;
  }

 private:
  TlsFiles files_;
  FileState crl_;
  std::shared_ptr<ssl::context> context_;
};

// "CN=ops,O=Example", what is unprintable escaped; empty: there is no certificate.
std::string subject_of(SSL* ssl) {
  const std::unique_ptr<X509, decltype(&X509_free)> shown(SSL_get1_peer_certificate(ssl),
                                                          &X509_free);
  if (!shown) return {};
  const std::unique_ptr<BIO, decltype(&BIO_free)> text(BIO_new(BIO_s_mem()), &BIO_free);
  X509_NAME_print_ex(text.get(), X509_get_subject_name(shown.get()), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text.get(), &bytes);
  return size <= 0 ? "(without a name)" : std::string(bytes, static_cast<size_t>(size));
}

class OpenSslStream final : public TlsStream {
 public:
  OpenSslStream(std::shared_ptr<ssl::context> context, Socket& socket)
      : context_(std::move(context)), stream_(socket, *context_) {}

  Co<std::string> handshake(error_code& code) override {
    co_await stream_.async_handshake(ssl::stream_base::server,
                                     asio::redirect_error(asio::use_awaitable, code));
    co_return code ? std::string() : subject_of(stream_.native_handle());
  }
  Co<size_t> read(asio::mutable_buffer space, error_code& code) override {
    return stream_.async_read_some(space, asio::redirect_error(asio::use_awaitable, code));
  }
  void read(asio::mutable_buffer space, Received received) override {
    stream_.async_read_some(space, std::move(received));
  }
  Co<size_t> write(const std::array<asio::const_buffer, 3>& bytes, error_code& code) override {
    return stream_.async_write_some(bytes, asio::redirect_error(asio::use_awaitable, code));
  }
  Co<void> close() override {
    error_code ignored;
    co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
  }

 private:
  std::shared_ptr<ssl::context> context_;
  ssl::stream<Socket&> stream_;
};
}  // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::open(TlsFiles files) {
  auto context = std::make_unique<OpenSslContext>(std::move(files));
  GANTRY_TRY(context->reload());
  return std::unique_ptr<TlsContext>(std::move(context));
}

std::unique_ptr<TlsStream> make_tls_stream(TlsContext& context, TlsStream::Socket& socket) {
  return std::make_unique<OpenSslStream>(static_cast<OpenSslContext&>(context).current(), socket);
}
}  // namespace gantry::http
