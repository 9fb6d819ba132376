#include "libprune/model/train/batch_pass.h"

namespace prune {

BatchPass::BatchPass(TrainableModel& student, const TrainableModel* teacher, const TrainingOptions& options)
    : student_(student),
      teacher_(teacher),
      options_(options),
      student_rope_(student.config().rope, options.seqlen),
      teacher_rope_((teacher == nullptr ? student : *teacher).config().rope, options.seqlen),
      gradients_(student),
      slopes_(parameters(student, gradients_)) {
  activations_.keeps_layers = options.keeps_activations;
  teacher_activations_.keeps_layers = false;
}

void BatchPass::forward(const TokenBatch& batch, std::span<const int32_t> targets, int64_t predictions) {
  HeadInput teacher_head;
  if (teacher_ != nullptr) {
    forward_model(*teacher_, teacher_rope_, batch, teacher_activations_);
    teacher_head = {&teacher_activations_.normed, &teacher_->head_matrix()};
    if (options_.hidden_weight > 0) hidden_scales_ = hidden_scales_of(teacher_activations_);
  }
  forward_model(student_, student_rope_, batch, activations_);
  const HeadLossOptions options{.distillation = teacher_ == nullptr ? 0 : options_.distillation,
                                .temperature = options_.temperature,
                                .precision = options_.precision,
                                .predictions = predictions};
  head_ = head_loss({&activations_.normed, &student_.head_matrix()},
                    teacher_ == nullptr ? nullptr : &teacher_head, targets, options, head_buffers_, &dnormed_,
                    &gradients_.head_matrix());
}

BatchLoss BatchPass::backward(const TokenBatch& batch, std::span<const double> hidden_scales) {
  const HiddenTarget hidden{teacher_ == nullptr ? nullptr : &teacher_activations_, options_.hidden_weight,
                            hidden_scales};
  const double hidden_loss =
      backward_model(student_, student_rope_, batch, activations_, dnormed_, hidden, buffers_, gradients_);
  return {head_.cross_entropy, head_.divergence, hidden_loss};
}

}  // namespace prune
