#include "base/hide_secrets.h"

#include <gtest/gtest.h>

#include "base/result.h"

namespace gantry {
namespace {
std::string of_log(std::string_view text) { return hide_secrets(text, TextIs::log); }
std::string of_arguments(std::string_view text) { return hide_secrets(text, TextIs::arguments); }

TEST(HideSecrets, WhatANameSaysIsOne) {
  EXPECT_EQ(of_log("password=hunter2 next"), "password=[hidden] next");
  EXPECT_EQ(of_log("mysql --password hunter2 -u root"), "mysql --password [hidden] -u root");
  EXPECT_EQ(of_log("--db-password=a=b"), "--db-password=[hidden]");
  EXPECT_EQ(of_log(R"({"auth_token": "abc", "path":"/x"})"),
            R"({"auth_token": "[hidden]", "path":"/x"})");
  EXPECT_EQ(of_log("Authorization: Bearer abc.def"), "Authorization: Bearer [hidden]");
  EXPECT_EQ(of_log("secret: s3cret\nplain: text"), "secret: [hidden]\nplain: text");
  EXPECT_EQ(of_log("rw,username=bob,password=x,vers=3"),
            "rw,username=bob,password=[hidden],vers=3");
}

TEST(HideSecrets, WhatIsKnownByItsLooks) {
  EXPECT_EQ(of_log("got ghp_0123456789abcdef"), "got [hidden]");
  EXPECT_EQ(of_log("see https://user:pass@host/x"), "see https://[hidden]@host/x");
  EXPECT_EQ(of_log("a\n-----BEGIN KEY-----\nabc\n-----END KEY-----\nb"), "a\n[hidden]\nb");
}

TEST(HideSecrets, OfAnAddress) {
  EXPECT_EQ(
      hide_uri_secrets("https://user:pa,s;s@host:1/a?x=1&X-Amz-Signature=abc&sig=d&token=e#f"),
      "https://[hidden]@host:1/a?x=1&X-Amz-Signature=[hidden]&sig=[hidden]&token=[hidden]#f");
  EXPECT_EQ(hide_uri_secrets("https://host/a=b?x=1#sha256=0"), "https://host/a=b?x=1#sha256=0");
  EXPECT_EQ(of_log("get https://u:p@h/?sig=SECRET&y=2: failed"),
            "get https://[hidden]@h/?sig=[hidden]&y=2: failed");
  EXPECT_EQ(of_arguments("wget --url=https://u:p@h/?sig=SECRET"),
            "wget --url=https://[hidden]@h/?sig=[hidden]");
}

TEST(HideSecrets, WordsOfProseAndSql) {
  EXPECT_EQ(of_log("my pass is hunter2 now"), "my pass is [hidden] now");
  EXPECT_EQ(of_log("passphrase hunter2, passwd: x"), "passphrase [hidden], passwd: [hidden]");
  EXPECT_EQ(of_log("CREATE USER bob IDENTIFIED BY \"my own\" x"),
            "CREATE USER bob IDENTIFIED BY \"[hidden]\" x");
  EXPECT_EQ(of_arguments("mysql -e CREATE USER bob identified by 'SECRET'"),
            "mysql -e CREATE USER bob identified by '[hidden]'");
  EXPECT_EQ(of_log("it passed by me; bypass this"), "it passed by me; bypass this");
}

TEST(HideSecrets, LoginsOfAnyClient) {
  EXPECT_EQ(of_arguments("client -u bob:hunter x"), "client -u [hidden] x");
  EXPECT_EQ(of_arguments("client --user bob:hunter --user=bob:hunter -ubob:hunter"),
            "client --user [hidden] --user=[hidden] -u[hidden]");
  EXPECT_EQ(hide_secrets({"client", "--user", "bob:hun ter", "-v"}), "client --user [hidden] -v");
  EXPECT_EQ(of_arguments("curl -u bob:hunter https://h:1/"), "curl -u [hidden] https://h:1/");
  EXPECT_EQ(of_arguments("client -u 1000:1000 -u bob"), "client -u 1000:1000 -u bob");
}

TEST(HideSecrets, WhatIsNoneStays) {
  const std::string id = "2f1c0b9a8d7e6f5a4b3c2d1e0f9a8b7c";
  for (const std::string& line :
       {cat("container ", id, " has ended"), std::string("sha256:0123456789abcdef0123456789abcdef"),
        std::string("the token is wrong"), std::string("pid 12: exec /bin/x: no such file"),
        std::string("https://host:8080/a@b")}) {
    EXPECT_EQ(of_log(line), line);
  }
  EXPECT_EQ(of_arguments("nginx -g daemon off;"), "nginx -g daemon off;");
  EXPECT_EQ(of_arguments("/usr/lib/x86_64-linux-gnu/program --port=80"),
            "/usr/lib/x86_64-linux-gnu/program --port=80");
}

// What containers are really told, one line each; the second: what is left of it, if not all.
TEST(HideSecrets, OfCommandsSecretsOnly) {
  const std::pair<std::string, std::string> kTable[] = {
      {"node --max-old-space-size=4096 --max-http-header-size=16384 server.js", ""},
      {"serve --tokenizer=fast --max-tokens=512 --primary-key id --keyboard us --bypass=1", ""},
      {"postgres -c shared_buffers=256MB -c max_connections=200 -c ssl_key_file=/etc/k.pem", ""},
      {"env POSTGRES_PASSWORD_FILE=/run/secrets/pg PGPORT=5432 PWD=/srv TZ=Europe/Berlin", ""},
      {"env DEBUG=true PATH=/usr/bin:/bin LANG=C.UTF-8 LC_ALL=de_DE.UTF-8", ""},
      {"prometheus --storage.tsdb.retention.time=15d --token-ttl=60 --password-length 12", ""},
      {"gunicorn -b 0.0.0.0:8000 --name my-service-frontend-v2-staging", ""},
      {"kafka-server-start.sh config/kraft2/server-properties src/app2/worker/consumers", ""},
      {"java -Djavax.net.ssl.keyStore=/x -XX:MaxRAMPercentage=75.0", ""},
      {"run -v /etc/passwd:/etc/passwd:ro -v ./token:/t", ""},
      {"proxy --public-key=abc --secrets-dir /run/secrets --cookie-age=60", ""},
      {"use tools@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", ""},
      {"env NODE_ENV=production PIN=1234 DB_PW=hunter PORT=123456",
       "env NODE_ENV=[hidden] PIN=[hidden] DB_PW=[hidden] PORT=[hidden]"},
      {"redis-server --requirepass hunter2 --maxmemory 256mb",
       "redis-server --requirepass [hidden] --maxmemory 256mb"},
      {"java -Djavax.net.ssl.keyStorePassword=hunter2 -jar a",
       "java -Djavax.net.ssl.keyStorePassword=[hidden] -jar a"},
      {"minio --access-key me --secret-key hunter2 --accessToken=x --auth_tokens=a",
       "minio --access-key [hidden] --secret-key [hidden] --accessToken=[hidden] "
       "--auth_tokens=[hidden]"},
      {"app Server=x;Uid=sa;Pwd=hunter2 --SSHKey k --PASSWORD_HASH=a --myapikey b",
       "app Server=x;Uid=sa;Pwd=[hidden] --SSHKey [hidden] --PASSWORD_HASH=[hidden] "
       "--myapikey [hidden]"},
      {"app --id=2f1c0b9a8d7e6f5a4b3c2d1e 123e4567-e89b-12d3-a456-426614174000",
       "app --id=[hidden] [hidden]"},
      {"app --x=ghp_0123456789abcdef c2VjcmV0LW9mLW1pbmUtMQ== aB3dE5-gH7jK9_mN2pQ4rS6",
       "app --x=[hidden] [hidden] [hidden]"},
      {"app user/token=hunter", "app user/token=[hidden]"}};
  for (const auto& [line, left] : kTable) EXPECT_EQ(of_arguments(line), left.empty() ? line : left);
}

TEST(HideSecrets, OfALogNotWhatIsWrong) {
  for (const std::string_view line :
       {"open /etc/passwd: No such file or directory", "max_tokens: 512", "PWD=/root",
        "token_file: /run/t", R"({"memory.key_size": 7, "monkey": "x"})"}) {
    EXPECT_EQ(of_log(line), line);
  }
}

TEST(HideSecrets, PasswordsOfKnownClients) {
  EXPECT_EQ(of_arguments("mysql -u root -phunter db"), "mysql -u root -p[hidden] db");
  EXPECT_EQ(of_arguments("sh -c 'sshpass -p hunter ssh h'"), "sh -c 'sshpass -p [hidden] ssh h'");
  EXPECT_EQ(of_arguments("/usr/bin/redis-cli -a hunter get x"),
            "/usr/bin/redis-cli -a [hidden] get x");
  EXPECT_EQ(of_arguments("curl -u bob:hunter https://h/; nc -u h"),
            "curl -u [hidden] https://h/; nc -u h");
  EXPECT_EQ(of_arguments("client -p argS3cretPW3"), "client -p [hidden]");
  EXPECT_EQ(of_arguments("client -pargS3cretPW3"), "client -p[hidden]");
  EXPECT_EQ(of_arguments("server -p 8080 -a 10.0.0.1:80 -w /srv1/data && mkdir -p a"),
            "server -p 8080 -a 10.0.0.1:80 -w /srv1/data && mkdir -p a");
}

TEST(HideSecrets, AValueIsHiddenAsAWhole) {
  EXPECT_EQ(hide_secrets({"app", "--password", "my own secret", "-v"}),
            "app --password [hidden] -v");
  EXPECT_EQ(hide_secrets({"sh", "-c", "app --db-password 'my own secret' -v"}),
            "sh -c app --db-password '[hidden]' -v");
  EXPECT_EQ(of_log(R"({"password": "my own secret", "x": "y z"})"),
            R"({"password": "[hidden]", "x": "y z"})");
}

TEST(HideSecrets, ArgumentsTellLess) {
  EXPECT_EQ(of_arguments("env DSN=postgres MODE=x ./run"), "env DSN=[hidden] MODE=[hidden] ./run");
  EXPECT_EQ(of_arguments("login 2f1c0b9a8d7e6f5a4b3c2d1e"), "login [hidden]");
}
}  // namespace
}  // namespace gantry
