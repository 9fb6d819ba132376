// Whole columns of a layer: score::column_energy(), obs_columns(), refit_columns().
#include <numeric>
#include <random>

#include <Eigen/QR>

#include <prune/update/obs_columns.h>

#include "test/libprune/include/calibration.h"

namespace prune::update {
namespace {

using testing::refusal;

using Columns = std::vector<Index>;

// A layer with its inputs, and other outputs than its own that are wanted: all in double.
struct Problem {
  Matrix<float> x, weights, gram, rhs;
  Eigen::MatrixXd wanted;  // [tokens, out]

  LayerTarget own() const { return {view(weights), std::nullopt, 0}; }
  LayerTarget other() const { return {view(weights), view(rhs), wanted.squaredNorm()}; }
};

Problem make_problem(Index in, Index out, Index tokens, unsigned seed) {
  std::mt19937 rng(seed);
  Problem p;
  p.x = testing::correlated_inputs(tokens, in, rng);
  p.weights = testing::normal_matrix(out, in, rng);
  p.gram = testing::gram_in_double(p.x).cast<float>();
  p.wanted = p.x.cast<double>() * p.weights.cast<double>().transpose() +
             0.5 * testing::normal_matrix(tokens, out, rng).cast<double>();
  p.rhs = (p.wanted.transpose() * p.x.cast<double>()).cast<float>();
  return p;
}

// argmin |X_C W'^T - Y|^2 + lambda |W' - W_C|^2 from the inputs themselves, by orthogonal factors.
Eigen::MatrixXd least_squares(const Problem& p, const Eigen::MatrixXd& wanted, const Columns& columns,
                              double damping) {
  const double lambda = damping * p.gram.diagonal().cast<double>().mean();
  const Index n = p.x.rows(), k = Index(columns.size());
  Eigen::MatrixXd a(n + k, k), b(n + k, wanted.cols());
  a << p.x.cast<double>()(Eigen::all, columns), std::sqrt(lambda) * Eigen::MatrixXd::Identity(k, k);
  b << wanted, std::sqrt(lambda) * p.weights.cast<double>()(Eigen::all, columns).transpose();
  return Eigen::MatrixXd(a.colPivHouseholderQr().solve(b)).transpose();
}

// What is minimised, with columns that are gone at 0.
double objective(const Problem& p, const Eigen::MatrixXd& wanted, const Columns& columns, double damping) {
  const double lambda = damping * p.gram.diagonal().cast<double>().mean();
  Eigen::MatrixXd w = Eigen::MatrixXd::Zero(p.weights.rows(), p.weights.cols());
  w(Eigen::all, columns) = least_squares(p, wanted, columns, damping);
  return (p.x.cast<double>() * w.transpose() - wanted).squaredNorm() +
         lambda * (w - p.weights.cast<double>()).squaredNorm();
}

// One group after another, each tried in full.
Columns brute_force(const Problem& p, const Eigen::MatrixXd& wanted, Index keep,
                    const ColumnOptions& options) {
  const Index in = p.weights.cols() - options.fixed;
  Columns groups(size_t(in / options.width));
  std::iota(groups.begin(), groups.end(), Index(0));
  const auto columns_of = [&](const Columns& kept) {
    Columns columns;
    for (const Index g : kept) {
      for (Index c = 0; c < options.width; ++c) columns.push_back(g * options.width + c);
    }
    for (Index c = 0; c < options.fixed; ++c) columns.push_back(in + c);
    return columns;
  };
  while (Index(groups.size()) > keep) {
    double least = std::numeric_limits<double>::infinity();
    Columns best;
    for (size_t i = 0; i < groups.size(); ++i) {
      Columns kept = groups;
      kept.erase(kept.begin() + std::ptrdiff_t(i));
      const double loss = objective(p, wanted, columns_of(kept), options.damping);
      if (loss < least) {
        least = loss;
        best = kept;
      }
    }
    groups = best;
  }
  return groups;
}

TEST(ObsColumns, TakesOutWhatBruteForceDoes) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    const Problem p = make_problem(12, 5, 60, seed);
    const Eigen::MatrixXd own = p.x.cast<double>() * p.weights.cast<double>().transpose();
    for (const ColumnOptions& options : {ColumnOptions{}, ColumnOptions{.width = 3},
                                         ColumnOptions{.damping = 0.1, .width = 2, .fixed = 2}}) {
      const Index groups = (12 - options.fixed) / options.width;
      for (Index keep = 1; keep <= groups; ++keep) {
        EXPECT_EQ(obs_columns(view(p.gram), p.own(), keep, options), brute_force(p, own, keep, options));
        EXPECT_EQ(obs_columns(view(p.gram), p.other(), keep, options),
                  brute_force(p, p.wanted, keep, options));
      }
    }
  }
}

TEST(ObsColumns, TakesSeveralAtOnceByTheScoresOfTheirRound) {
  const Problem p = make_problem(12, 5, 60, 4);
  ColumnOptions options{.at_once = 4};
  const Columns first = obs_columns(view(p.gram), p.own(), 8, options);
  detail::ColumnElimination one(detail::ColumnSystem(view(p.gram), p.own(), options.damping), options);
  const std::vector<double> losses = one.losses();
  double most_gone = 0, least_kept = std::numeric_limits<double>::infinity();
  for (Index j = 0; j < 12; ++j) {
    const bool kept = std::ranges::binary_search(first, j);
    if (kept) least_kept = std::min(least_kept, losses[size_t(j)]);
    if (!kept) most_gone = std::max(most_gone, losses[size_t(j)]);
  }
  EXPECT_LT(most_gone, least_kept);
  EXPECT_EQ(obs_columns(view(p.gram), p.own(), 5, options).size(), 5u);
}

TEST(ObsColumns, OfEqualInputsOneStays) {
  Problem p = make_problem(8, 4, 50, 5);
  p.x.col(6) = p.x.col(1);
  p.weights.array() += 3.0f;
  p.gram = testing::gram_in_double(p.x).cast<float>();
  const Columns kept = obs_columns(view(p.gram), p.own(), 6, {.damping = 1e-6});
  EXPECT_EQ(std::ranges::count(kept, 1) + std::ranges::count(kept, 6), 1);
}

TEST(ObsColumns, AnInputThatIsAlwaysZeroGoesFirst) {
  Problem p = make_problem(8, 4, 50, 6);
  p.x.col(2).setZero();
  p.gram = testing::gram_in_double(p.x).cast<float>();
  EXPECT_EQ(obs_columns(view(p.gram), p.own(), 7), (Columns{0, 1, 3, 4, 5, 6, 7}));
}

TEST(RefitColumns, IsLeastSquaresOfTheInputs) {
  const Problem p = make_problem(10, 6, 80, 7);
  const Eigen::MatrixXd own = p.x.cast<double>() * p.weights.cast<double>().transpose();
  for (const Columns& columns : {Columns{0, 3, 4, 9}, Columns{5}, Columns{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}) {
    for (const double damping : {1e-3, 1.0}) {
      const auto near = [&](const Matrix<float>& found, const Eigen::MatrixXd& exact) {
        return (found.cast<double>() - exact).norm() <= 1e-4 * exact.norm();
      };
      EXPECT_TRUE(near(refit_columns(view(p.gram), p.own(), columns, damping),
                       least_squares(p, own, columns, damping)));
      EXPECT_TRUE(near(refit_columns(view(p.gram), p.other(), columns, damping),
                       least_squares(p, p.wanted, columns, damping)));
    }
  }
}

TEST(RefitColumns, LeavesAWholeLayerAsItIs) {
  const Problem p = make_problem(10, 6, 80, 8);
  Columns all(10);
  std::iota(all.begin(), all.end(), Index(0));
  EXPECT_LE((refit_columns(view(p.gram), p.own(), all) - p.weights).norm(), 1e-5f * p.weights.norm());
}

TEST(ColumnEnergy, IsThatOfTheOutputsOfTheGroupAlone) {
  const Problem p = make_problem(12, 5, 60, 9);
  for (const Index width : {1, 3, 12}) {
    const std::vector<double> energy = score::column_energy(view(p.weights), view(p.gram), width);
    ASSERT_EQ(Index(energy.size()), 12 / width);
    for (Index g = 0; g < 12 / width; ++g) {
      const Eigen::MatrixXd y = p.x.middleCols(g * width, width).cast<double>() *
                                p.weights.middleCols(g * width, width).cast<double>().transpose();
      EXPECT_NEAR(energy[size_t(g)], y.squaredNorm(), 1e-5 * y.squaredNorm());
    }
  }
}

TEST(Columns, RefuseWhatCannotBe) {
  const Problem p = make_problem(8, 4, 50, 10);
  const auto keep = [&](Index count, const ColumnOptions& options, const std::string& reason) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, reason, [&] { obs_columns(view(p.gram), p.own(), count, options); }),
              "");
  };
  keep(0, {}, "column groups: expected to keep 1 to 8, got 0");
  keep(9, {}, "column groups: expected to keep 1 to 8, got 9");
  keep(1, {.width = 3}, "column groups of 3 do not tile 8 columns");
  keep(1, {.fixed = 9}, "column groups: no such number of fixed columns, or of groups at once");
  for (const Columns& columns : {Columns{3, 3}, Columns{4, 2}, Columns{8}, Columns{-1}}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "refit of columns: they must be the layer's, and ascend",
                      [&] { refit_columns(view(p.gram), p.own(), columns); }),
              "");
  }
  Matrix<float> nan = p.gram;
  nan(1, 2) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(obs_columns(view(nan), p.own(), 3), Error);
  EXPECT_THROW(refit_columns(view(nan), p.own(), {1}), Error);
}

}  // namespace
}  // namespace prune::update
