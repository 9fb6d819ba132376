// Pruning while a network is trained, with a training loop that is not ours: a small perceptron in plain
// Eigen that knows one task and is fine-tuned to another one while most of its weights go.
//
//   c++ -std=c++20 -O2 $(pkg-config --cflags prune) prune_while_training.cc -o prune_while_training
//   ./prune_while_training [SEED]
//
// This is where movement pruning is at home. The first task has made weights large that the second has no use
// for; magnitude pruning keeps them, and movement pruning asks what each weight does for the loss now. Where
// a network is trained for one task only, and half of it stays, the two are closer.
#include <prune/prune.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using prune::Index;
using prune::Mask;
using prune::Matrix;
using prune::Pattern;

constexpr Index kInputs = 64;
constexpr Index kHidden = 64;
constexpr Index kClasses = 4;
constexpr Index kBatch = 64;
constexpr int64_t kSteps = 600;

// --- The data: the class of a vector of normal numbers is what a random teacher says that looks at some of
// them only

struct Task {
  Matrix<float> teacher_in;   // [16, inputs]
  Matrix<float> teacher_out;  // [classes, 16]
};

struct Samples {
  Matrix<float> x;  // [n, inputs]
  std::vector<Index> labels;
};

Matrix<float> normal_matrix(Index rows, Index cols, float size, std::mt19937& rng) {
  std::normal_distribution<float> normal(0, size);
  return Matrix<float>::NullaryExpr(rows, cols, [&](Index, Index) { return normal(rng); });
}

// A task over the inputs [begin, end).
Task make_task(Index begin, Index end, std::mt19937& rng) {
  Task task{Matrix<float>::Zero(16, kInputs), normal_matrix(kClasses, 16, 1, rng)};
  task.teacher_in.middleCols(begin, end - begin) = normal_matrix(16, end - begin, 1, rng);
  return task;
}

Samples draw(const Task& task, Index n, std::mt19937& rng) {
  Samples samples{normal_matrix(n, kInputs, 1, rng), std::vector<Index>(size_t(n))};
  const Matrix<float> votes =
      (samples.x * task.teacher_in.transpose()).cwiseMax(0) * task.teacher_out.transpose();
  for (Index i = 0; i < n; ++i) votes.row(i).maxCoeff(&samples.labels[size_t(i)]);
  return samples;
}

// --- The network: relu(x W0^T) W1^T, without biases for brevity

using Weights = std::array<Matrix<float>, 2>;

Matrix<float> logits_of(const Weights& w, const Matrix<float>& x) {
  return (x * w[0].transpose()).cwiseMax(0) * w[1].transpose();
}

double accuracy(const Weights& w, const Samples& samples) {
  const Matrix<float> logits = logits_of(w, samples.x);
  Index right = 0;
  for (Index i = 0; i < logits.rows(); ++i) {
    Index best = 0;
    logits.row(i).maxCoeff(&best);
    right += best == samples.labels[size_t(i)];
  }
  return double(right) / double(logits.rows());
}

// dL/dW of the mean cross-entropy.
Weights gradients(const Weights& w, const Samples& batch) {
  const Matrix<float> hidden = (batch.x * w[0].transpose()).cwiseMax(0);
  Matrix<float> d = hidden * w[1].transpose();
  for (Index i = 0; i < d.rows(); ++i) {
    d.row(i) = (d.row(i).array() - d.row(i).maxCoeff()).exp();
    d.row(i) /= d.row(i).sum();
    d(i, batch.labels[size_t(i)]) -= 1;
  }
  d /= float(d.rows());
  const Matrix<float> d_hidden = (d * w[1]).cwiseProduct((hidden.array() > 0).cast<float>().matrix());
  return {d_hidden.transpose() * batch.x, d.transpose() * hidden};
}

// --- How a mask comes about

enum class Method { kMagnitude, kMovement, kSoftMovement };

struct Recipe {
  Method method = Method::kMagnitude;
  Pattern pattern = prune::Unstructured{};
  double sparsity = 0;
  double penalty = 0;  // of soft movement, which finds its own sparsity
};

struct Result {
  Weights weights;  // pruned
  std::array<Mask, 2> masks;
};

class Pruner {
 public:
  Pruner(const Recipe& recipe, const Weights& w)
      : recipe_(recipe),
        scores_{prune::MovementScores::zero(w[0].rows(), w[0].cols(), recipe.pattern),
                prune::MovementScores::zero(w[1].rows(), w[1].cols(), recipe.pattern)} {
    // The sparsity of N:M is fixed: such a mask is there from the first step on. A soft mask has a threshold.
    goal_ = {.first = prune::implied_sparsity(recipe.pattern).value_or(0),
             .last = recipe.method == Method::kSoftMovement ? 0.1 : recipe.sparsity,
             .steps = kSteps,
             .warm_up = kSteps / 10,
             .cool_down = kSteps / 3};
  }

  Mask mask(size_t layer, const Matrix<float>& w, int64_t step) const {
    const double goal = goal_.at(step);
    if (recipe_.method == Method::kMagnitude) return prune::select_magnitude(w, recipe_.pattern, goal);
    if (recipe_.method == Method::kMovement) return prune::select(scores_[layer], goal);
    return prune::select_soft(scores_[layer], goal);
  }

  // After the backward pass: w the weights before the mask, d = dL/dW'.
  void learn(size_t layer, const Matrix<float>& w, const Matrix<float>& d, int64_t step) {
    if (recipe_.method == Method::kMagnitude) return;
    prune::MovementScores& scores = scores_[layer];
    Matrix<float> gradient = scores.gradient(w, d);
    if (recipe_.method == Method::kSoftMovement) {
      prune::add_sigmoid_penalty(scores, recipe_.penalty / 2 * goal_.at(step) / goal_.last, gradient);
    }
    adam_[layer].step(1e-2, gradient, scores.values());
  }

 private:
  Recipe recipe_;
  std::array<prune::MovementScores, 2> scores_;
  std::array<prune::optimizer::Adam, 2> adam_;
  prune::CubicSchedule goal_;
};

// --- The training loops

const prune::LearningRate kRate{
    .peak = 3e-3, .steps = kSteps, .warm_up = 20, .decay = prune::Decay::kLinear, .last = 0};

Result train(const Task& task, Weights w, const Recipe& recipe) {
  std::mt19937 rng(3);
  Pruner pruner(recipe, w);
  std::array<prune::optimizer::Adam, 2> adam;
  Result result;
  for (int64_t step = 0;; ++step) {
    for (size_t layer = 0; layer < 2; ++layer) {
      result.masks[layer] = pruner.mask(layer, w[layer], step);
      result.weights[layer].resizeLike(w[layer]);
      prune::apply(result.masks[layer], w[layer], result.weights[layer]);
    }
    if (step == kSteps) return result;
    Weights d = gradients(result.weights, draw(task, kBatch, rng));
    for (size_t layer = 0; layer < 2; ++layer) {
      pruner.learn(layer, w[layer], d[layer], step);
      prune::apply(result.masks[layer], d[layer]);  // a pruned weight stands still
      adam[layer].step(kRate.at(step), d[layer], w[layer]);
    }
  }
}

// The baseline that costs several trainings: kRounds times trained, pruned and rewound, and trained once
// more.
constexpr int kRounds = 3;

Result train_and_rewind(const Task& task, const Weights& start, double sparsity) {
  std::mt19937 rng(3);
  std::array<prune::Rewinding<float>, 2> rewinding{prune::Rewinding(start[0]), prune::Rewinding(start[1])};
  Result result{start, {}};
  for (int round = 0; round <= kRounds; ++round) {
    const double goal = prune::rewinding_sparsity(sparsity, round, kRounds);
    for (size_t layer = 0; layer < 2; ++layer) {
      rewinding[layer].prune(result.weights[layer], prune::Unstructured{}, goal);
      result.masks[layer] = rewinding[layer].mask();
    }
    std::array<prune::optimizer::Adam, 2> adam;
    for (int64_t step = 0; step < kSteps; ++step) {
      Weights d = gradients(result.weights, draw(task, kBatch, rng));
      for (size_t layer = 0; layer < 2; ++layer) {
        prune::apply(result.masks[layer], d[layer]);
        adam[layer].step(kRate.at(step), d[layer], result.weights[layer]);
      }
    }
  }
  return result;
}

// --- The comparison

int failures = 0;

void check(bool holds, const std::string& what) {
  std::cout << (holds ? "  ok      " : "  FAILED  ") << what << '\n';
  failures += !holds;
}

struct Comparison {
  Task task;
  Weights start;
  Samples test;

  double print(const std::string& name, const Result& result) const {
    const Mask& a = result.masks[0];
    const Mask& b = result.masks[1];
    const double right = accuracy(result.weights, test);
    std::cout << "  " << std::left << std::setw(34) << name << std::right << std::fixed
              << std::setprecision(1) << std::setw(6) << 100 * right << " %   zeros" << std::setw(6)
              << 100 * a.sparsity() << " and" << std::setw(5) << 100 * b.sparsity() << " %\n";
    return right;
  }

  // Movement against magnitude with everything else the same: steps, batches, rates, schedule, pattern.
  void run(const Pattern& pattern, double sparsity) const {
    const std::string goal = prune::to_string(pattern) + " " + std::to_string(int(100 * sparsity)) + " %";
    const auto train_with = [&](Method method) {
      return train(task, start, {.method = method, .pattern = pattern, .sparsity = sparsity, .penalty = 0});
    };
    const double magnitude = print(goal + ", magnitude", train_with(Method::kMagnitude));
    const Result moved = train_with(Method::kMovement);
    const double movement = print(goal + ", movement", moved);
    check(movement > magnitude, "movement keeps more of the second task");
    bool is_exact = true;
    for (size_t layer = 0; layer < 2; ++layer) {
      is_exact &= prune::satisfies(moved.masks[layer], pattern);
      is_exact &= prune::nonzero_mask(moved.weights[layer]) == moved.masks[layer];
    }
    check(is_exact, "and its weights are zero where the pattern says");
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::mt19937 rng(argc > 1 ? uint32_t(std::atoi(argv[1])) : 2);
  const Task first = make_task(0, 48, rng);
  Comparison comparison{make_task(32, 64, rng), {}, {}};  // shares a third of its inputs with the first
  comparison.test = draw(comparison.task, 2000, rng);
  const Weights random{normal_matrix(kHidden, kInputs, 0.18f, rng),
                       normal_matrix(kClasses, kHidden, 0.18f, rng)};
  const Result known = train(first, random, {});
  comparison.start = known.weights;

  std::cout << "share of the second task's answers that are right\n";
  comparison.print("after the first task alone", known);
  comparison.print("dense", train(comparison.task, comparison.start, {}));
  comparison.run(prune::Unstructured{}, 0.8);
  comparison.run(prune::Unstructured{}, 0.95);
  comparison.print("95 %, rewinding, 4 times the steps",
                   train_and_rewind(comparison.task, comparison.start, 0.95));
  comparison.run(prune::NM{2, 4}, 0.5);
  comparison.run(prune::Block{4, 4}, 0.75);
  Recipe soft{
      .method = Method::kSoftMovement, .pattern = prune::Unstructured{}, .sparsity = 0, .penalty = 60};
  const Result found = train(comparison.task, comparison.start, soft);
  comparison.print("soft movement", found);
  check(found.masks[0].sparsity() > 0.5, "a soft mask found a sparsity of its own");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
