// What a model family's tensors are: which are weights of linear layers in its decoder blocks, and which way
// round they are stored.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/checkpoint.h"

namespace prune {

// How a linear layer's weight lies in the file.
enum class Orientation {
  kOutIn,  // [out, in]: torch.nn.Linear
  kInOut,  // [in, out]: GPT-2's Conv1D; patterns run down the columns of the file
};

// Why a tensor can't be pruned whatever its name: it is no matrix, has no elements, or is of a type that is
// copied. Nothing when it can.
std::optional<std::string> unprunable_reason(const TensorInfo& tensor);

class Architecture {
 public:
  // By config.json's model_type, of a checkpoint that has one. Anything else is the fallback: every 2-D
  // floating-point "*.weight" but embeddings, heads, norms and routers, stored [out, in] but for GPT-2's own
  // names.
  explicit Architecture(const Checkpoint& checkpoint);

  const std::string& model_type() const { return model_type_; }  // empty without a config.json
  bool is_known() const { return family_ != nullptr; }

  struct Role {
    bool prunable = false;
    Orientation orientation = Orientation::kOutIn;
    std::string reason;  // why it is not prunable, for people
  };
  Role role(const TensorInfo& tensor) const;
  // The orientation of a tensor that the user named although it is not prunable by default.
  Orientation orientation(std::string_view tensor_name) const;

  // The model types that are known, for messages and help.
  static std::vector<std::string_view> known_model_types();

  struct Family;

 private:
  Role fallback_role(const TensorInfo& tensor) const;

  std::string model_type_;
  const Family* family_ = nullptr;
};

}  // namespace prune
