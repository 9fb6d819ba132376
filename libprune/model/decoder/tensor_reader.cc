#include "libprune/model/decoder/tensor_reader.h"

#include <algorithm>

#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

std::string in_words(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

template <class T>
void widen_run(const std::byte* bytes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(static_cast<void*>(&value), bytes + size_t(i) * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

// A bf16 is the upper half of a float.
template <>
void widen_run<bf16>(const std::byte* bytes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + 2 * i, 2);
    const uint32_t bits = uint32_t(half) << 16;
    std::memcpy(out + i, &bits, 4);
  }
}

void widen(DType dtype, const std::byte* bytes, int64_t count, float* out) {
  constexpr int64_t kRun = 1 << 16;
  visit_dtype(dtype, [&]<class T>() {
#pragma omp parallel for if (count > kRun)
    for (int64_t first = 0; first < count; first += kRun) {
      widen_run<T>(bytes + size_t(first) * sizeof(T), std::min(kRun, count - first), out + first);
    }
  });
}

// to [cols, rows] = from [rows, cols] transposed, in tiles that stay in cache.
void transpose(const FloatMatrix& from, FloatMatrix& to) {
  constexpr int64_t kTile = 32;
  to.resize(from.cols(), from.rows());
#pragma omp parallel for
  for (int64_t top = 0; top < from.rows(); top += kTile) {
    const int64_t bottom = std::min(top + kTile, from.rows());
    for (int64_t c = 0; c < from.cols(); ++c) {
      for (int64_t r = top; r < bottom; ++r) to.row(c)[r] = from.row(r)[c];
    }
  }
}

}  // namespace

TensorReader::TensorReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  if (PackedCheckpoint::is_packed(checkpoint)) packed_ = std::make_unique<PackedCheckpoint>(checkpoint);
}
TensorReader::~TensorReader() = default;

const TensorInfo& TensorReader::require(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto ref = checkpoint_.find(name);
  if (!ref) {
    const bool is_packed = packed_ != nullptr && packed_->find(name) != nullptr;
    throw_input(shown(checkpoint_.path()) +
                (is_packed ? ": 'prune unpack' first: packed is " : ": no tensor ") + quote_name(name));
  }
  const TensorInfo& tensor = checkpoint_.tensor(*ref);
  const auto place = [&] { return place_of(checkpoint_.shards()[ref->shard], tensor); };
  if (tensor.shape != shape) {
    throw_input(place() + " is " + in_words(tensor.shape) + ", but config.json asks for " + in_words(shape));
  }
  if (!is_prunable(tensor.dtype)) {
    throw_input(place() + ": type " + std::string(prune::name(tensor.dtype)) + " has no forward pass here");
  }
  return tensor;
}

std::vector<float> TensorReader::vector(const std::string& name, int64_t size) const {
  const TensorInfo& tensor = require(name, {size});
  std::vector<float> values(static_cast<size_t>(size));
  widen(tensor.dtype, checkpoint_.data(*checkpoint_.find(name)).data(), size, values.data());
  return values;
}

FloatMatrix TensorReader::matrix(const std::string& name, int64_t out, int64_t in,
                                 Orientation orientation) const {
  if (const PackedWeight* weight = packed_weight(name, out, in)) return unpacked(*weight);
  const bool turned = orientation == Orientation::kInOut;
  FloatMatrix stored(turned ? in : out, turned ? out : in);
  rows(name, stored.rows(), stored.cols(), 0, stored.rows(), stored.data());
  if (!turned) return stored;
  FloatMatrix matrix;
  transpose(stored, matrix);
  return matrix;
}

const PackedWeight* TensorReader::packed_weight(std::string_view name, int64_t out, int64_t in) const {
  const PackedWeight* weight = packed_ ? packed_->find(name) : nullptr;
  if (weight != nullptr && (weight->out != out || weight->in != in)) {
    throw_input("packed tensor " + quote_name(weight->tensor) + " is " + in_words({weight->out, weight->in}) +
                " as [out, in], but config.json asks for " + in_words({out, in}));
  }
  return weight;
}

FloatMatrix TensorReader::unpacked(const PackedWeight& weight) const {
  FloatMatrix matrix(weight.out, weight.in);
  visit_dtype(weight.dtype, [&]<class T>() {
    const Matrix<T> values = packed_->unpack<T>(weight);
    widen_run<T>(reinterpret_cast<const std::byte*>(values.data()), matrix.size(), matrix.data());
  });
  return matrix;
}

StoredMatrix TensorReader::stored(const std::string& name, int64_t rows, int64_t cols) const {
  const TensorInfo& tensor = require(name, {rows, cols});
  return {tensor.dtype, checkpoint_.data(*checkpoint_.find(name)).data()};
}

void TensorReader::rows(const std::string& name, int64_t rows, int64_t cols, int64_t first, int64_t count,
                        float* out) const {
  const StoredMatrix from = stored(name, rows, cols);
  widen(from.dtype, from.data + size_t(first * cols) * size_t(bits(from.dtype)) / 8, count * cols, out);
}

}  // namespace prune
