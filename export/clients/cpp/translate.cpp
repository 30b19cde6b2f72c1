// translate photo.onnx photo.ppm sunset.ppm [realism]
// From a photo to its translation with photo.onnx alone. One line and exit status 2 for what cannot be used.
// Photos are binary PPM files (P6, 8 bits), so that nothing but onnxruntime is needed.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int64_t kMostPixels = 100'000'000;

struct Refusal : std::runtime_error {  // Something the person at the keyboard can mend.
  using std::runtime_error::runtime_error;
};

struct Picture {
  int64_t height, width;
  std::vector<uint8_t> rgb;  // Row by row, three bytes a pixel.
};

// The next number of a PPM header; a comment goes from # to the end of its line.
int64_t NextNumber(std::istream& file) {
  while (file >> std::ws && file.peek() == '#') file.ignore(1 << 20, '\n');
  int64_t number = -1;
  file >> number;
  return file ? number : -1;
}

Picture ReadPhoto(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Refusal("photo " + path + " cannot be opened; name a file that is there");
  std::string kind(2, ' ');
  file.read(kind.data(), 2);
  const int64_t width = NextNumber(file), height = NextNumber(file), most = NextNumber(file);
  file.get();  // One space ends the header.
  if (kind != "P6" || most != 255 || width < 1 || height < 1)
    throw Refusal("photo " + path + " is no binary PPM file of 8 bits; convert it, as README.md says");
  if (width > kMostPixels || height > kMostPixels / width)
    throw Refusal("photo " + path + " has more than 100 million pixels; make it smaller first");
  Picture photo{height, width, std::vector<uint8_t>(static_cast<size_t>(3 * height * width))};
  file.read(reinterpret_cast<char*>(photo.rgb.data()), static_cast<std::streamsize>(photo.rgb.size()));
  if (!file) throw Refusal("photo " + path + " is cut short; get a whole copy of it");
  return photo;
}

Ort::Session OpenModel(const Ort::Env& env, const std::string& path) {
  if (!std::ifstream(path)) throw Refusal("model " + path + " cannot be opened; name the photo.onnx of an export");
  try {
    return Ort::Session(env, std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(), Ort::SessionOptions());
  } catch (const Ort::Exception& error) {
    throw Refusal("model " + path + " cannot be read (" + error.what() + "); give the photo.onnx of an export");
  }
}

std::vector<std::string> InputNames(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> names;
  for (size_t i = 0; i < session.GetInputCount(); ++i) names.push_back(session.GetInputNameAllocated(i, allocator).get());
  return names;
}

Picture Translate(Ort::Session& session, Picture& photo, float realism) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const int64_t sides[] = {photo.height, photo.width, 3}, none[] = {0}, one[] = {1};
  float nothing = 0;  // No noise: the picture of seed 0.
  std::vector<const char*> names;
  std::vector<Ort::Value> feeds;
  const auto held = InputNames(session);
  for (const std::string& name : held) {
    names.push_back(name.c_str());
    if (name == "photo") {
      feeds.push_back(Ort::Value::CreateTensor<uint8_t>(memory, photo.rgb.data(), photo.rgb.size(), sides, 3));
    } else if (name == "noise") {
      feeds.push_back(Ort::Value::CreateTensor<float>(memory, &nothing, 0, none, 1));
    } else if (name == "realism") {
      feeds.push_back(Ort::Value::CreateTensor<float>(memory, &realism, 1, one, 1));
    } else {
      throw Refusal("the model takes " + name + ", not a photo; give the photo.onnx of an export");
    }
  }
  const char* outputs[] = {"picture"};
  try {
    const auto made = session.Run(Ort::RunOptions(nullptr), names.data(), feeds.data(), feeds.size(), outputs, 1);
    const uint8_t* first = made[0].GetTensorData<uint8_t>();
    return {photo.height, photo.width, {first, first + photo.rgb.size()}};
  } catch (const Ort::Exception& error) {
    throw Refusal("the model failed (" + std::string(error.what()) + "); free some memory or give a smaller photo");
  }
}

// Written to another name first, so that no half file is ever there.
void Save(const std::string& path, const Picture& picture) {
  const std::string half = path + ".half";
  std::ofstream file(half, std::ios::binary);
  file << "P6\n" << picture.width << " " << picture.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size()));
  file.close();
  if (!file || std::rename(half.c_str(), path.c_str()) != 0) {
    std::remove(half.c_str());
    throw Refusal(path + " cannot be written; choose a folder that is there, that you may write and that is not full");
  }
}

float ReadRealism(const char* text) {
  char* end = nullptr;
  const float value = std::strtof(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 1))
    throw Refusal("realism " + std::string(text) + " is not from 0 to 1; give such a number");
  return value;
}

}  // namespace

int main(int count, char** words) {
#ifndef _WIN32
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
  try {
    if (count != 4 && count != 5) throw Refusal("usage: translate photo.onnx photo.ppm sunset.ppm [realism]");
    const float realism = count == 5 ? ReadRealism(words[4]) : 1.0f;
    Picture photo = ReadPhoto(words[2]);
    const Ort::Env env(ORT_LOGGING_LEVEL_FATAL);
    Ort::Session session = OpenModel(env, words[1]);
    Save(words[3], Translate(session, photo, realism));
  } catch (const std::exception& error) {  // Also std::bad_alloc, for a photo that memory does not hold.
    std::string line = error.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::cerr << "error: " << line << "\n";
    return 2;
  }
  return 0;
}
