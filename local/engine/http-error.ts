/** Says no, in the shape of OpenAI's errors and with vLLM's names for them. */
export class HttpError extends Error {
  readonly status: number;
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }

  get body(): object {
    return { error: { message: this.message, type: this.type, param: null, code: this.status } };
  }
}
