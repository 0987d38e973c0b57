// Runs a fuzzer's function over corpus files: every file is a plain test (tests/fuzz).
//   NAME FILE-OR-FOLDER…
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {
// Each file as it is, and cut off at every eighth of its length: parsers see torn input often.
int replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::printf("%s: %zu bytes\n", path.c_str(), bytes.size());
  std::fflush(stdout);  // a crash shall name its file
  for (size_t eighths = 0; eighths <= 8; ++eighths) {
    // A copy of its own size, so that the address sanitizer sees a read past the end.
    std::string cut(bytes, 0, bytes.size() * eighths / 8);
    cut.shrink_to_fit();
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(cut.data()), cut.size());
  }
  return 1;
}
}  // namespace

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files += replay(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files += replay(entry);
  }
  std::printf("%d files\n", files);
  return files > 0 ? 0 : 1;
}
