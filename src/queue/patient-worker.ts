/**
 * BullMQ's worker, but for two things. It asks for the next job again at once when Redis answers
 * with an error (out of memory, a replica, a script that runs for too long), and so thousands of
 * times a second as long as that lasts; ours waits a moment. And a job whose content is no JSON
 * makes it fail before it knows of a job: that one would be handed out every half minute for
 * ever. Ours takes it as one without content, which ends without effect.
 */
import { type Job, type JobJson, Worker } from 'bullmq';
import type { JobContent } from './job-queue.ts';

const AFTER_ERROR_MS = 500;

export class PatientWorker extends Worker<JobContent> {
  protected override async moveToActive(token: string, name?: string): Promise<Job<JobContent>> {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      await this.delay(AFTER_ERROR_MS);
      throw error;
    }
  }

  protected override createJob(job: JobJson, jobId: string): Job<JobContent> {
    return super.createJob(isJson(job.data) ? job : { ...job, data: '{}' }, jobId);
  }
}

function isJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}
