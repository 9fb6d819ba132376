#include "libprune/model/calibrated/allocation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <prune/allocate.h>
#include <prune/error.h>
#include <prune/layer_error.h>
#include <prune/score/wanda.h>

#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/calibrated/input_moments.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/memory.h"

namespace prune {
namespace {

// Where a matrix's errors are measured, as shares of the way from 0 to the wanted sparsity, and beyond it
// from there to 1.
constexpr double kBelow[] = {0.5, 0.75, 1};
constexpr double kBeyond[] = {0.2, 0.4, 0.6, 0.8};

class Allocator {
 public:
  Allocator(const Decoder& decoder, const PrunePlan& plan, const CalibrationText& text, const RopeTable& rope,
            std::span<float> hidden)
      : decoder_(decoder), plan_(plan), text_(text), rope_(rope), hidden_(hidden) {
    for (const PlannedTensor& tensor : plan.tensors) {
      if (tensor.prune) planned_[decoder.checkpoint().tensor(tensor.ref).name] = &tensor;
    }
  }

  std::map<std::string, double> run() {
    decoder_.embed(text_.sequences(0, text_.samples), Sequences(text_.samples, text_.length), hidden_.data());
    for (int64_t index = 0; index < decoder_.config().layers; ++index) {
      const DecoderLayer layer = decoder_.load_layer(index);
      measure(inputs_of(layer));
    }
    const std::vector<double> sparsities = plan_.options.calibration.allocation == Allocation::kOwl
                                               ? allocate::owl(sizes_, outliers_, plan_.sparsity)
                                               : allocate::by_error(sizes_, curves_, plan_.sparsity);
    std::map<std::string, double> by_name;
    for (size_t i = 0; i < sparsities.size(); ++i) {
      for (const std::string& name : members_[i]) by_name[name] = sparsities[i];
    }
    return by_name;
  }

 private:
  struct Readers {
    std::span<const Linear> linears;
    InputMoments moments;
  };

  bool is_planned(const Linear& linear) const { return planned_.contains(linear.weight_name); }

  // Passes the text through the layer.
  std::vector<Readers> inputs_of(const DecoderLayer& layer) {
    std::vector<Readers> all;
    const auto add = [&](std::span<const Linear> linears) {
      if (std::ranges::any_of(linears, [&](const Linear& linear) { return is_planned(linear); }))
        all.push_back({linears, InputMoments(linears.front().in, false)});
    };
    add(layer.qkv);
    add({&layer.output, 1});
    for (const FeedForward& expert : layer.experts) {
      add(expert.expanding);
      add({&expert.contracting, 1});
    }
    const InputObserver observer = [&](std::span<const Linear> linears, const float* x, int64_t n) {
      const auto found =
          std::ranges::find(all, linears.data(), [](const Readers& r) { return r.linears.data(); });
      if (found != all.end()) found->moments.add(x, n);
    };
    const int64_t count = batch_sequences(text_.length);
    for (int64_t first = 0; first < text_.samples; first += count) {
      check_interrupted();
      const Sequences sequences(std::min(count, text_.samples - first), text_.length);
      float* hidden = hidden_.data() + first * text_.length * decoder_.config().width;
      forward_layer(layer, rope_, sequences, hidden, hidden, activations_, observer);
    }
    return all;
  }

  void measure(std::vector<Readers> all) {
    std::vector<Matrix<float>> scores;
    std::vector<std::string> names;
    int64_t candidates = 0;
    for (Readers& readers : all) {
      finish(readers);
      for (const Linear& linear : readers.linears) {
        if (!is_planned(linear)) continue;
        check_interrupted();
        const ConstView<float> weights(linear.weight.data(), linear.out, linear.in,
                                       Eigen::OuterStride<>(linear.in));
        names.push_back(linear.weight_name);
        candidates += candidates_of(linear);
        if (plan_.options.calibration.allocation == Allocation::kOwl) {
          scores.push_back(score::wanda(weights, squares(readers)));
        } else {
          add_curve(linear, weights, readers);
        }
      }
    }
    if (plan_.options.calibration.allocation != Allocation::kOwl || names.empty()) return;
    std::vector<ConstView<float>> views;
    views.reserve(scores.size());
    for (const Matrix<float>& matrix : scores) views.push_back(view(matrix));
    outliers_.push_back(allocate::outlier_share(views));
    sizes_.push_back(candidates);
    members_.push_back(std::move(names));
  }

  void finish(Readers& readers) const {
    try {
      readers.moments.finish();
    } catch (const Error& fault) {
      throw_input("the inputs of " + quote_name(readers.linears.front().weight_name) + ": " + fault.what());
    }
  }

  static Eigen::VectorXd squares(const Readers& readers) {
    return readers.moments.gram().diagonal().cast<double>();
  }

  int64_t candidates_of(const Linear& linear) const {
    const Block* block = std::get_if<Block>(&plan_.options.pattern);
    return block ? linear.out / block->rows * (linear.in / block->cols) : linear.out * linear.in;
  }

  void add_curve(const Linear& linear, const ConstView<float>& weights, const Readers& readers) {
    std::vector<double> sparsities;
    for (const double share : kBelow) sparsities.push_back(plan_.sparsity * share);
    for (const double share : kBeyond) sparsities.push_back(plan_.sparsity + (1 - plan_.sparsity) * share);
    std::vector<allocate::ErrorAt> curve;
    Matrix<float> pruned(linear.out, linear.in);
    for (const double sparsity : sparsities) {
      const Mask mask = select_wanda(weights, squares(readers), plan_.options.pattern, sparsity);
      apply(mask, weights, pruned);
      curve.push_back({sparsity, layer_error(view(std::as_const(pruned)), weights, readers.moments.gram())});
    }
    curves_.push_back(std::move(curve));
    sizes_.push_back(candidates_of(linear));
    members_.push_back({linear.weight_name});
  }

  const Decoder& decoder_;
  const PrunePlan& plan_;
  const CalibrationText& text_;
  const RopeTable& rope_;
  std::span<float> hidden_;
  std::map<std::string, const PlannedTensor*> planned_;
  LayerActivations activations_;
  // Of what gets one sparsity: a matrix, or with OWL all matrices of a decoder layer.
  std::vector<int64_t> sizes_;
  std::vector<double> outliers_;
  std::vector<std::vector<allocate::ErrorAt>> curves_;
  std::vector<std::vector<std::string>> members_;
};

}  // namespace

std::map<std::string, double> allocate_sparsity(const Decoder& decoder, const PrunePlan& plan,
                                                const CalibrationText& text, const RopeTable& rope,
                                                std::span<float> hidden) {
  return Allocator(decoder, plan, text, rope, hidden).run();
}

}  // namespace prune
