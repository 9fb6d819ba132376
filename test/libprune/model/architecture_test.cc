#include "libprune/model/architecture.h"

#include <string>
#include <vector>

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::TempFolder;

// The architecture of a folder whose config.json is this text.
Architecture architecture_of(const std::string& config) {
  TempFolder folder;
  testing::write_file(folder / "config.json", config);
  testing::write_file(folder / "model.safetensors", testing::file_of({}));
  return Architecture(Checkpoint(folder.path()));
}

TensorInfo matrix(std::string name, DType dtype = DType::kBF16) {
  TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.shape = {64, 32};
  return tensor;
}

// Names as transformers writes them.
struct Family {
  std::string model_type;
  Orientation orientation;
  std::vector<std::string> prunable;
  std::vector<std::string> dense;
};

std::ostream& operator<<(std::ostream& out, const Family& family) { return out << family.model_type; }

const std::vector<std::string> kLlamaLinear = {
    "model.layers.0.self_attn.q_proj.weight",  "model.layers.0.self_attn.k_proj.weight",
    "model.layers.11.self_attn.v_proj.weight", "model.layers.127.self_attn.o_proj.weight",
    "model.layers.0.mlp.gate_proj.weight",     "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.mlp.down_proj.weight"};
const std::vector<std::string> kLlamaOthers = {"model.embed_tokens.weight",
                                               "lm_head.weight",
                                               "model.norm.weight",
                                               "model.layers.0.input_layernorm.weight",
                                               "model.layers.0.post_attention_layernorm.weight",
                                               "model.layers.0.self_attn.q_proj.bias",
                                               "model.layers.0.self_attn.rotary_emb.inv_freq",
                                               "model.layers.0.self_attn.q_norm.weight",
                                               "model.layers.0.self_attn.k_norm.weight",
                                               "model.layers.x.self_attn.q_proj.weight",
                                               "model.layers..self_attn.q_proj.weight",
                                               "model.xlayers.0.self_attn.q_proj.weight",
                                               "model.layers.0.other.q_proj.weight",
                                               "model.layers.0.mlp.up_proj.weight.values"};

std::vector<std::string> with_prefix(const std::string& prefix, const std::vector<std::string>& names) {
  std::vector<std::string> all;
  for (const std::string& name : names) all.push_back(prefix + name);
  return all;
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<std::string> kOptLinear = {"decoder.layers.0.self_attn.q_proj.weight",
                                             "decoder.layers.0.self_attn.k_proj.weight",
                                             "decoder.layers.0.self_attn.v_proj.weight",
                                             "decoder.layers.0.self_attn.out_proj.weight",
                                             "decoder.layers.23.fc1.weight",
                                             "decoder.layers.23.fc2.weight"};
const std::vector<std::string> kOptOthers = {"decoder.embed_tokens.weight",
                                             "decoder.embed_positions.weight",
                                             "decoder.project_in.weight",
                                             "decoder.final_layer_norm.weight",
                                             "decoder.layers.0.fc1.bias",
                                             "decoder.layers.0.self_attn_layer_norm.weight",
                                             "decoder.layers.0.final_layer_norm.weight",
                                             "decoder.layers.0.self_attn.out_proj.bias"};
const std::vector<std::string> kGpt2Linear = {"h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight",
                                              "h.11.mlp.c_fc.weight", "h.11.mlp.c_proj.weight"};
const std::vector<std::string> kGpt2Others = {"wte.weight",      "wpe.weight",       "ln_f.weight",
                                              "h.0.ln_1.weight", "h.0.ln_2.weight",  "h.0.attn.c_attn.bias",
                                              "h.0.attn.bias",   "h.0.mlp.c_fc.bias"};

const Family kFamilies[] = {
    {"llama", Orientation::kOutIn, kLlamaLinear, kLlamaOthers},
    {"mistral", Orientation::kOutIn, kLlamaLinear, kLlamaOthers},
    {"qwen2", Orientation::kOutIn, kLlamaLinear, kLlamaOthers},
    {"qwen3", Orientation::kOutIn, kLlamaLinear, kLlamaOthers},
    {"gemma", Orientation::kOutIn, kLlamaLinear, kLlamaOthers},
    {"phi3",
     Orientation::kOutIn,
     {"model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.self_attn.o_proj.weight",
      "model.layers.0.mlp.gate_up_proj.weight", "model.layers.0.mlp.down_proj.weight"},
     {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight",
      "model.layers.0.input_layernorm.weight"}},
    {"opt", Orientation::kOutIn, kOptLinear + with_prefix("model.", kOptLinear),
     kOptOthers + with_prefix("model.", kOptOthers) + std::vector<std::string>{"lm_head.weight"}},
    {"gpt2", Orientation::kInOut, kGpt2Linear + with_prefix("transformer.", kGpt2Linear),
     kGpt2Others + with_prefix("transformer.", kGpt2Others) + std::vector<std::string>{"lm_head.weight"}},
    {"mixtral",
     Orientation::kOutIn,
     {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
      "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
      "model.layers.3.block_sparse_moe.experts.0.w1.weight",
      "model.layers.3.block_sparse_moe.experts.7.w2.weight",
      "model.layers.3.block_sparse_moe.experts.63.w3.weight"},
     {"model.layers.0.block_sparse_moe.gate.weight", "model.layers.0.block_sparse_moe.experts.w1.weight",
      "model.layers.0.block_sparse_moe.experts.0.w4.weight",
      "model.layers.0.block_sparse_moe.experts..w1.weight", "model.embed_tokens.weight", "lm_head.weight"}},
};

class KnownFamily : public ::testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(Transformers, KnownFamily, ::testing::ValuesIn(kFamilies),
                         [](const auto& test) { return test.param.model_type; });

TEST_P(KnownFamily, LinearLayersOfBlocksArePrunable) {
  const Family& family = GetParam();
  const Architecture architecture = architecture_of(testing::config_of(family.model_type));
  EXPECT_TRUE(architecture.is_known());
  EXPECT_EQ(architecture.model_type(), family.model_type);
  for (const std::string& name : family.prunable) {
    const Architecture::Role role = architecture.role(matrix(name));
    EXPECT_TRUE(role.prunable) << name << ": " << role.reason;
    EXPECT_EQ(role.orientation, family.orientation) << name;
    EXPECT_EQ(architecture.orientation(name), family.orientation) << name;
  }
}

TEST_P(KnownFamily, TheRestIsNot) {
  const Family& family = GetParam();
  const Architecture architecture = architecture_of(testing::config_of(family.model_type));
  for (const std::string& name : family.dense) {
    const Architecture::Role role = architecture.role(matrix(name));
    EXPECT_FALSE(role.prunable) << name;
    EXPECT_NE(role.reason, "") << name;
  }
}

TEST_P(KnownFamily, OnlyMatricesOfFloatsArePrunable) {
  const Family& family = GetParam();
  const Architecture architecture = architecture_of(testing::config_of(family.model_type));
  TensorInfo tensor = matrix(family.prunable[0]);
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    tensor.dtype = dtype;
    EXPECT_TRUE(architecture.role(tensor).prunable) << name(dtype);
  }
  for (const DType dtype :
       {DType::kI8, DType::kU8, DType::kI32, DType::kBool, DType::kF8E4M3FNUZ, DType::kC64}) {
    tensor.dtype = dtype;
    EXPECT_FALSE(architecture.role(tensor).prunable) << name(dtype);
  }
  tensor.dtype = DType::kBF16;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {64}, {4, 64, 32}}) {
    tensor.shape = shape;
    EXPECT_FALSE(architecture.role(tensor).prunable) << shape.size();
  }
}

TEST(Architecture, EveryKnownTypeIsTested) {
  std::vector<std::string> tested;
  for (const Family& family : kFamilies) tested.push_back(family.model_type);
  const auto known = Architecture::known_model_types();
  EXPECT_THAT(known, ::testing::UnorderedElementsAreArray(tested.begin(), tested.end()));
}

class Fallback : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Configs, Fallback,
                         ::testing::Values("{}", R"({"model_type":"bloom"})", R"({"model_type":7})",
                                           R"({"model_type":"LLAMA"})", R"({"model_type":null})"));

TEST_P(Fallback, NamesDecide) {
  const Architecture architecture = architecture_of(GetParam());
  EXPECT_FALSE(architecture.is_known());
  for (const char* name : {"h.0.self_attention.query_key_value.weight", "encoder.layer.1.output.dense.weight",
                           "model.layers.0.mlp.gate_proj.weight", "blocks.2.ffn.w1.weight"}) {
    const Architecture::Role role = architecture.role(matrix(name));
    EXPECT_TRUE(role.prunable) << name;
    EXPECT_EQ(role.orientation, Orientation::kOutIn);
  }
  for (const char* name :
       {"word_embeddings.weight", "embed_tokens.weight", "lm_head.weight", "wte.weight",
        "transformer.wpe.weight", "layers.0.norm.weight", "ln.layernorm.weight", "layers.0.moe.router.weight",
        "layers.0.moe.gate.weight", "gate.weight", "score.weight", "classifier.weight", "h.0.dense.bias",
        "h.0.dense", "h.0.dense.weight_scale"}) {
    EXPECT_FALSE(architecture.role(matrix(name)).prunable) << name;
  }
  EXPECT_FALSE(architecture.role(matrix("h.0.dense.weight", DType::kI8)).prunable);
  for (const char* name : {"h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_proj.weight"}) {
    EXPECT_EQ(architecture.role(matrix(name)).orientation, Orientation::kInOut) << name;
    EXPECT_EQ(architecture.orientation(name), Orientation::kInOut) << name;
  }
  EXPECT_EQ(architecture.orientation("h.0.dense.weight"), Orientation::kOutIn);
  EXPECT_EQ(architecture.orientation("c_attn.weight"), Orientation::kOutIn);  // in no block
}

TEST(Architecture, AFileAloneFallsBack) {
  TempFolder folder;
  testing::write_file(folder / "model.safetensors", testing::file_of({}));
  testing::write_file(folder / "config.json", testing::config_of("gpt2"));
  const Architecture architecture{Checkpoint(folder / "model.safetensors")};
  EXPECT_FALSE(architecture.is_known());
  EXPECT_EQ(architecture.model_type(), "");
}

TEST(Architecture, Gpt2TurnsNothingOutsideItsBlocks) {
  const Architecture gpt2 = architecture_of(testing::config_of("gpt2"));
  EXPECT_EQ(gpt2.orientation("transformer.wte.weight"), Orientation::kOutIn);
  EXPECT_EQ(gpt2.orientation("lm_head.weight"), Orientation::kOutIn);
}

}  // namespace
}  // namespace prune
