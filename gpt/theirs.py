"""Flags as other projects name them, and where each leads here."""
from typing import NamedTuple

from bpe.console import nearest


class Row(NamedTuple):
    """Names of one thing; the command that has it, and its flag there or why there is none."""

    names: str
    command: str
    ours: str


ROWS = (
    # ---- the model ----
    Row("block_size ctx n_ctx n_positions seq_len seq_length sequence_length max_seq_len "
        "max_seq_length max_position_embeddings", "train", "--context_length"),
    Row("n_embd n_embed embed_dim emb_dim embedding_dim hidden_size d_embed dim width", "train",
        "--d_model"),
    Row("n_layers num_layers layers depth num_hidden_layers", "train", "--n_layer"),
    Row("n_heads num_heads heads num_attention_heads", "train", "--n_head"),
    Row("n_kv_heads num_kv_heads num_key_value_heads", "train", "--n_kv_head"),
    Row("d_ff ffn_dim intermediate_size mlp_dim hidden_dim", "train", "--d_mlp"),
    Row("activation act act_fn hidden_act", "train", "--mlp"),
    Row("pos_emb position_embedding positional_encoding", "train", "--position"),
    Row("tie tie_word_embeddings", "train", "--tie_weights"),
    Row("vocab_size vocab n_vocab", "train", "--vocabulary"),
    Row("drop dropout_rate attn_pdrop resid_pdrop embd_pdrop", "train", "--dropout"),
    # ---- the text ----
    Row("data dataset data_path data_dir input input_file file text train_file train_data corpus "
        "in", "train", "name the text without a flag, as in train book.txt"),
    Row("val_file val_data validation_file eval_data eval_file", "train", "--val"),
    Row("val_split validation_split test_size", "train", "--val_fraction"),
    Row("tokenizer_name tokenizer_path", "train", "--tokenizer"),
    # ---- how it learns ----
    Row("lr max_lr", "train", "--learning_rate"),
    Row("min_lr", "train", "--final_rate, a share of the highest"),
    Row("lr_scheduler lr_scheduler_type lr_schedule scheduler", "train", "--schedule"),
    Row("warmup warmup_iters num_warmup_steps lr_warmup_steps", "train", "--warmup_steps"),
    Row("optim", "train", "--optimizer"),
    Row("wd", "train", "--weight_decay"),
    Row("grad_clip max_grad_norm clip clip_grad gradient_clip_val", "train", "--clip_norm"),
    Row("batch_size batch bs per_device_train_batch_size", "train",
        "--batch_tokens, which counts tokens and not sequences"),
    Row("gradient_accumulation_steps grad_accum accumulate_grad_batches", "train",
        "--micro_batch, the sequences of one forward pass; how many are added up follows"),
    Row("max_iters iters iterations max_steps n_steps num_steps num_train_steps train_steps",
        "train", "--steps"),
    Row("time max_time time_limit", "train", "--minutes"),
    Row("epochs num_epochs num_train_epochs max_epochs n_epochs", "train",
        "say --steps or --minutes, and the run says how often that reads the text"),
    Row("eval_interval eval_steps save_interval save_steps log_interval logging_steps", "train",
        "--eval_every"),
    Row("eval_iters", "train", "--eval_tokens"),
    Row("patience early_stopping always_save_checkpoint save_total_limit", "train",
        "the best checkpoint by the validation loss is kept by itself"),
    Row("random_seed manual_seed rng_seed", "train", "--seed"),
    # ---- from a base ----
    Row("r lora_r lora_dim", "train", "--lora_rank"),
    Row("target_modules lora_target_modules", "train", "--lora_on, globs over names of layers"),
    Row("modules_to_save", "train", "--lora_beside, globs over names of parameters"),
    Row("chat_template prompt_template", "train", "--template"),
    Row("train_on_inputs train_on_input mask_prompt", "train", "--loss_on answers or all"),
    # ---- where it is kept, and with what it runs ----
    Row("out_dir output_dir output out save_dir checkpoint_dir log_dir logdir workdir", "train",
        "--runs, the folder of all runs (--name is that of this one)"),
    Row("init_from checkpoint ckpt ckpt_path load from_pretrained resume_from restore "
        "resume_from_checkpoint continue", "train", "--resume, the folder of a run or last"),
    Row("project run_name experiment exp_name", "train", "--name"),
    Row("wandb wandb_log use_wandb wandb_project report_to tensorboard logger", "train",
        "--log wandb, or tensorboard or trackio"),
    Row("quiet silent no_progress", "train", "--plain"),
    Row("dry_run sanity_check", "train", "--check"),
    Row("device cuda gpu gpus num_gpus n_gpus cpu mps device_map accelerator", "",
        "everything is computed by the processor, so there is none to choose"),
    Row("fp16 bf16 dtype amp mixed_precision half", "train", "--precision, float32 or bfloat16"),
    Row("compile torch_compile jit", "", "what can be compiled always is"),
    Row("threads num_threads n_threads num_workers workers dataloader_num_workers", "",
        "set the environment variable MINIGRAD_THREADS, as in MINIGRAD_THREADS=2"),
    Row("deepspeed fsdp ddp local_rank nproc_per_node nnodes world_size", "",
        "a run is one process on one machine"),
    Row("shuffle", "", "each batch is drawn anew from the whole text"),
    # ---- generation ----
    Row("model model_path model_name model_name_or_path run", "",
        "name the folder of a run without a flag, as in runs/NAME"),
    Row("prompt start input_text", "generate",
        "say the prompt without a flag, as in runs/NAME 'Once upon a time'"),
    Row("prompt_file input_prompts", "generate", "--prompts"),
    Row("length max_new_tokens max_length num_tokens n_tokens n_predict", "generate",
        "--max_tokens"),
    Row("num_samples num_return_sequences n_samples samples", "generate", "--n"),
    Row("temp t", "generate", "--temperature"),
    Row("topk k", "generate", "--top_k"),
    Row("topp p nucleus", "generate", "--top_p"),
    Row("penalty repeat_penalty rep_pen", "generate", "--repetition_penalty"),
    Row("stop_token stop_sequence stop_sequences eos", "generate", "--stop"),
    Row("do_sample greedy", "generate", "--temperature, 0 for always the likeliest"),
    Row("num_beams beam_size beam_width", "generate", "--beams"),
)
THEIRS = {name: row for row in ROWS for name in row.names.split()}


def advise(name, flags):
    """Say where a flag that does not exist leads: by the table, or to the nearest one."""
    row = THEIRS.get(name.lstrip("-").replace("-", "_").lower())
    if row is None:
        return nearest(name, flags)
    if not row.ours.startswith("--"):
        return row.ours
    here = row.ours.replace(",", " ").split()[0] in flags
    return f"here it is {row.ours}" if here else f"the command {row.command} has {row.ours}"
